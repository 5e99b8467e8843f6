//! One file a page, or a few that belong together.

pub mod approvals;
pub mod audit;
pub mod clients;
pub mod compare;
pub mod files;
pub mod history;
pub mod job;
pub mod jobs;
pub mod me;
pub mod overview;
pub mod people;
pub mod plan;
pub mod ports;
pub mod restore;
pub mod retention;
pub mod saveset;
pub mod search;
pub mod set_up;
pub mod storage;
pub mod tasks;
pub mod welcome;
