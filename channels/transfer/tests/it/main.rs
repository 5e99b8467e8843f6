//! Conformance of the data ports: the same scenarios for every front-end (`front::Front`), and
//! what is special to HTTP in `wire`.

mod cut;
mod front;
mod ftp;
mod fuzz;
mod limits;
mod memory;
mod proxy;
mod proxy_ftp;
mod rates;
mod raw;
mod session;
mod strangers;
mod tickets;
mod wire;
