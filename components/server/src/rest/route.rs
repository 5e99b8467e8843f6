//! What a row of the table says.

use simsim_console::api::Method;

use super::shapes::Shape;

/// One method of one path.
pub(super) struct Route {
    pub method: Method,
    /// Beneath [`super::ROOT`]; `{name}` is a field of the verb's request.
    pub path: &'static str,
    /// The heading in the document.
    pub tag: &'static str,
    pub verb: &'static str,
    pub shape: Shape,
    pub does: Does,
    /// How what the path names is seen: for conditions, and for what is made or changed.
    pub find: Option<Find>,
}

/// What becomes of a request.
pub(super) enum Does {
    /// Lists, a page at a time.
    List(Page),
    /// Shows what the verb answers.
    One,
    /// Shows what [`Route::find`] finds.
    Pick,
    /// Makes what the path names, by the verb, or changes it by another one. `None`: what is there
    /// stays, and must be as asked for.
    Put {
        change: Option<&'static str>,
    },
    /// Changes something of what the path names.
    Set,
    Delete,
    /// Does something, at once. `makes`: the path of what is made, with fields of the answer.
    Act {
        makes: Option<&'static str>,
    },
    /// Starts a job.
    Job,
    /// Tells the events of a job.
    Events,
    /// Shows the document of all this.
    Document,
}

/// How a thing is found: what a verb shows, or by a key in a list, which is a field or all of an answer.
pub(super) struct Find {
    pub verb: &'static str,
    pub by: Option<(&'static str, &'static str)>,
}

/// How a list comes in pages.
pub(super) struct Page {
    /// The field of the answer with the items; empty: the answer is the list.
    pub items: &'static str,
    pub turn: Turn,
    /// Fields of the items that may be asked for.
    pub filters: &'static [&'static str],
}

/// How the next page is asked for.
pub(super) enum Turn {
    /// The verb answers everything, in the order of a key.
    Whole { key: &'static str },
    /// The verb takes this field, and a limit that is so by default. The field is made of this one of
    /// the last item.
    ByVerb { field: &'static str, limit: usize, key: &'static str, next: Next, more: More },
}

/// What is asked for to get what comes after an item.
#[derive(Clone, Copy)]
pub(super) enum Next {
    /// The same.
    Same,
    /// The number that follows.
    Following,
    /// The last part of a path.
    Name,
}

/// How it is known that there is more.
#[derive(Clone, Copy)]
pub(super) enum More {
    /// By this field of the answer.
    Field(&'static str),
    /// The page is full.
    Full,
}
