//! Formats: what is encoded decodes to the same, any bytes decode or fail but never panic, every
//! flipped bit is noticed, and the bytes of version 1 stay what they are.

mod decoders;
mod fuzz;
mod golden;
mod keys;
mod limits;
mod sample;
mod seals;
