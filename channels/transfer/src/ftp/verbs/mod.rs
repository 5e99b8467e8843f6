//! What may be said on the control connection, a file for each group of verbs.

mod about;
mod files;
mod login;
mod parameters;
mod retrieve;
mod store;
mod streams;

#[cfg(test)]
pub(in crate::ftp) use streams::parse_name;
