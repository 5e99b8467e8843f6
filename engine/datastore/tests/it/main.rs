mod apart;
mod backup;
mod crash;
mod index;
mod kit;
mod rot;
