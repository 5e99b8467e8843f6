//! The control channel with real sockets, and with OpenSSH as the stranger at the door.

mod calls;
mod ctrl;
mod documents;
mod fuzz;
mod joining;
mod logging_in;
mod openssh;
mod stage;
mod strangers;
