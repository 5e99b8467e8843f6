//! What is wrong with a text, to the word, and what a schedule cannot be computed without.

use simsim_model::Kind;

/// A text that was not understood. Its message shows the word and says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{word}' (character {column}): {why}")]
pub struct ParseError {
    /// The word that was not understood; `end` where something is missing at the end.
    pub word: String,
    /// Where it begins, in characters from 1.
    pub column: usize,
    /// What would be right, as the end of a sentence.
    pub why: String,
}

impl ParseError {
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }

    /// The text with a mark under the word: two lines for a terminal.
    pub fn marked(&self, text: &str) -> String {
        let line = text.replace(['\n', '\t'], " ");
        let blank = " ".repeat(self.column.saturating_sub(1));
        format!("{line}\n{blank}{}", "^".repeat(self.word.chars().count().max(1)))
    }
}

/// Why occurrences cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Neither the database of zones that is used knows it.
    #[error("there is no time zone '{0}': use a name such as Europe/Berlin or UTC")]
    UnknownZone(String),
    #[error("there is no calendar '{0}': make it, or take it out of the schedule or event")]
    UnknownCalendar(String),
    #[error("event '{event}' names schedule '{schedule}', which is not there")]
    UnknownSchedule { event: String, schedule: String },
}

impl ScheduleError {
    pub fn kind(&self) -> Kind {
        Kind::NotFound
    }
}
