mod apart;
mod backup;
mod crash;
mod heal;
mod index;
mod kit;
mod rot;
