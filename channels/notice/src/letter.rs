//! What is told.

use serde_json::Value;

/// One message, in every form that a way may need.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    /// Stays the same however often it is sent.
    pub id: String,
    /// One line.
    pub subject: String,
    pub text: String,
    /// The same for people, as a page, where there is one: mail has both.
    pub html: Option<String>,
    /// The same for programs.
    pub document: Value,
}
