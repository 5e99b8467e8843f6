//! CTRL against whoever stands in between: every byte of a session can be read, changed, kept,
//! repeated and sent back by somebody here. The clock jumps, so that waiting costs nothing.

mod changed;
mod decoders;
mod middle;
mod reversed;
mod seen;
