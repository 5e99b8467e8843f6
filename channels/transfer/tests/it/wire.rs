//! Raw bytes on the port.
