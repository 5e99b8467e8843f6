//! The session core over streams in memory, with a clock that jumps: time limits of 30 seconds
//! cost nothing here. Hand-made encodings stand for peers of other versions.

mod calling;
mod hostile;
mod silence;
mod stage;
mod versions;
