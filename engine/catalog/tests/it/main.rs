//! The catalog on a real disk: one binary, a room per promise.

mod audit;
mod copies;
mod crash;
mod enrolment;
mod fixture;
mod full_disk;
mod jobs;
mod opening;
mod postgres;
mod readers;
mod rebuild;
mod records;
mod tokens;
