//! The nouns of the suite held against their contracts.

mod firewalls;
mod limits;
mod port_plan;
mod ports;
mod text_forms;
