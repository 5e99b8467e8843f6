//! What an object that an administrator sets is made of: a table, and no code for each.

use serde_json::Value;

/// One kind of object.
pub struct Kind {
    /// In paths.
    pub noun: &'static str,
    /// What many of them are called, and one.
    pub title: &'static str,
    pub one: &'static str,
    /// What it is for, a sentence.
    pub about: &'static str,
    /// Verbs.
    pub list: &'static str,
    /// The field of the list's answer in which they stand; empty: it is a list itself.
    pub within: &'static str,
    pub add: &'static str,
    /// Replaces all of one but its name; empty: it cannot be changed.
    pub change: &'static str,
    /// Empty: it cannot be removed here.
    pub remove: &'static str,
    /// The field with its name.
    pub name: &'static str,
    /// Columns of the list: heads, and where they stand in the answer.
    pub columns: &'static [(&'static str, &'static str)],
    pub fields: &'static [Field],
    /// Fields of the answer that a change sends back as they are.
    pub carried: &'static [&'static str],
    /// The first words of its command line, such as `simsim task`; the verb follows.
    pub command: &'static str,
    /// What is on the command line between that and the name: `add`, `create`.
    pub adding: &'static str,
    /// Further acts of one: path, label, verb.
    pub acts: &'static [(&'static str, &'static str, &'static str)],
    /// What it means to remove one.
    pub removing: &'static str,
}

/// One field of a form.
pub struct Field {
    /// Where it stands in the request; `/` leads into objects.
    pub at: &'static str,
    pub label: &'static str,
    pub help: &'static str,
    pub input: Input,
    pub flag: Flag,
    pub needed: bool,
    /// It is shown among the further ones.
    pub further: bool,
    /// It is set when the object is made, and stays.
    pub fixed: bool,
    /// The word `none` empties it on the command line.
    pub emptied: bool,
}

/// How a field is filled in.
pub enum Input {
    Text,
    /// A list, an entry a line.
    Lines,
    Number,
    Box,
    Secret,
    /// Value and words.
    Choose(&'static [(&'static str, &'static str)]),
    /// Names of other objects: the verb that lists them, the field within its answer, the field with the name.
    Pick(&'static str, &'static str, &'static str),
    /// Several of them.
    PickMany(&'static str, &'static str, &'static str),
    /// The same of numbers.
    PickNumbers(&'static str, &'static str, &'static str),
    /// Roles and rights, one a line, as the command line has them: `operator`, `restore@berlin`.
    Grants,
    /// What groups may, one a line, with the group before it: `ops=operator`.
    Groups,
    /// A text of several lines.
    Passage,
    /// What is looked after, one a line: `backup=26h`.
    Watches,
}

/// How a field stands on the command line.
pub enum Flag {
    /// By its place.
    Plain,
    With(&'static str),
    /// Once for each entry.
    Each(&'static str),
    /// All entries with commas between them.
    Joined(&'static str),
    /// There, or not.
    Switch(&'static str),
    /// Followed by true or false.
    TrueFalse(&'static str),
    /// It is asked for, or read from a file.
    Nothing,
}

impl Field {
    pub const fn new(at: &'static str, label: &'static str, input: Input, flag: Flag) -> Self {
        let (help, needed, further, fixed, emptied) = ("", false, false, false, false);
        Self { at, label, help, input, flag, needed, further, fixed, emptied }
    }

    pub const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    pub const fn needed(mut self) -> Self {
        self.needed = true;
        self
    }

    pub const fn further(mut self) -> Self {
        self.further = true;
        self
    }

    pub const fn fixed(mut self) -> Self {
        self.fixed = true;
        self
    }

    pub const fn emptied(mut self) -> Self {
        self.emptied = true;
        self
    }

    /// Its value in a document.
    pub fn of<'a>(&self, document: &'a Value) -> &'a Value {
        static NOTHING: Value = Value::Null;
        self.at.split('/').try_fold(document, |value, part| value.get(part)).unwrap_or(&NOTHING)
    }

    /// Puts its value into a document.
    pub fn put(&self, document: &mut Value, value: Value) {
        let mut place = document;
        let mut parts = self.at.split('/').peekable();
        while let Some(part) = parts.next() {
            if !place.is_object() {
                *place = Value::Object(serde_json::Map::new());
            }
            let Value::Object(fields) = place else { return };
            if parts.peek().is_none() {
                fields.insert(part.to_owned(), value);
                return;
            }
            place = fields.entry(part.to_owned()).or_insert(Value::Null);
        }
    }
}
