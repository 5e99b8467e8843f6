//! Which clients and tasks a list is about: what somebody may see who does not see all.

use rusqlite::types::Value;

use crate::CatalogError;

/// SQLite takes 32,766 values in one question.
const NAMES_MAX: usize = 30_000;

/// Rows of these clients, and of these tasks, each named by its client and itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Within {
    pub clients: Vec<String>,
    pub tasks: Vec<(String, String)>,
}

impl Within {
    /// Whether no row is meant.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.tasks.is_empty()
    }

    /// As a condition on `client_name` and `task_name`.
    pub(crate) fn add_to(
        &self,
        text: &mut String,
        values: &mut Vec<Value>,
    ) -> Result<(), CatalogError> {
        if self.clients.len() + 2 * self.tasks.len() > NAMES_MAX {
            let why = "there are too many clients and tasks to list at once: name one of them";
            return Err(CatalogError::invalid(why));
        }
        text.push_str(" AND (1 = 0");
        if !self.clients.is_empty() {
            let marks = vec!["?"; self.clients.len()].join(", ");
            text.push_str(&format!(" OR client_name IN ({marks})"));
            values.extend(self.clients.iter().map(|name| name.clone().into()));
        }
        if !self.tasks.is_empty() {
            let marks = vec!["(?, ?)"; self.tasks.len()].join(", ");
            text.push_str(&format!(" OR (client_name, task_name) IN (VALUES {marks})"));
            for (client, task) in &self.tasks {
                values.extend([client.clone().into(), task.clone().into()]);
            }
        }
        text.push(')');
        Ok(())
    }
}
