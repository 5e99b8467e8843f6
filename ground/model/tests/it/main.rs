//! The nouns of the suite held against their contracts.

mod ports;
mod text_forms;
