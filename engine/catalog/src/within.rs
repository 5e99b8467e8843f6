//! Which clients and tasks a list is about: what somebody may see who does not see all.

use rusqlite::types::Value;

use crate::CatalogError;

/// SQLite takes 32,766 values in one question.
const NAMES_MAX: usize = 30_000;

/// Rows of these clients, of these tasks, and of these tasks of clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Within {
    pub clients: Vec<String>,
    pub tasks: Vec<String>,
    pub both: Vec<(String, String)>,
}

impl Within {
    /// Whether no row is meant.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.tasks.is_empty() && self.both.is_empty()
    }

    /// As a condition on `client_name` and `task_name`.
    pub(crate) fn add_to(
        &self,
        text: &mut String,
        values: &mut Vec<Value>,
    ) -> Result<(), CatalogError> {
        if self.clients.len() + self.tasks.len() + 2 * self.both.len() > NAMES_MAX {
            let why = "there are too many clients and tasks to list at once: name one of them";
            return Err(CatalogError::invalid(why));
        }
        text.push_str(" AND (1 = 0");
        for (column, names) in [("client_name", &self.clients), ("task_name", &self.tasks)] {
            if !names.is_empty() {
                let marks = vec!["?"; names.len()].join(", ");
                text.push_str(&format!(" OR {column} IN ({marks})"));
                values.extend(names.iter().map(|name| name.clone().into()));
            }
        }
        if !self.both.is_empty() {
            let marks = vec!["(?, ?)"; self.both.len()].join(", ");
            text.push_str(&format!(" OR (client_name, task_name) IN (VALUES {marks})"));
            for (client, task) in &self.both {
                values.extend([client.clone().into(), task.clone().into()]);
            }
        }
        text.push(')');
        Ok(())
    }
}
