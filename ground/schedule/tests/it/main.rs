//! Schedules, events and plans as a caller uses them.

mod due;
mod events;
mod month;
mod pages;
mod plan;
mod sample;
mod text;
mod zones;
