//! The console's listeners on the wire: one past each limit.

mod limits;
