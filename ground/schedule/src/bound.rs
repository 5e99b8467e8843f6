//! What bounds how many runs go on at once.

use std::fmt;

use crate::event::Place;

/// Something of which runs have a part, and which has only so many of them; how many stands beside it, in
/// the programme.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    Drive(u16),
    /// All drives of a drive group together.
    Group(String),
    /// All drives of a datastore together.
    Datastore(String),
    /// The host that works on a run.
    Client(String),
    /// Everything that runs.
    Queue,
}

impl From<Place> for Bound {
    fn from(place: Place) -> Self {
        match place {
            Place::Drive(number) => Bound::Drive(number),
            Place::Group(name) => Bound::Group(name),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Drive(number) => write!(f, "drive {number}"),
            Bound::Group(name) => write!(f, "drive group '{name}'"),
            Bound::Datastore(name) => write!(f, "datastore '{name}'"),
            Bound::Client(name) => write!(f, "client '{name}'"),
            Bound::Queue => f.write_str("the queue"),
        }
    }
}
