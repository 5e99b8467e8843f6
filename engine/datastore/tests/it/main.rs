mod backup;
mod crash;
mod kit;
