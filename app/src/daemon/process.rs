//! What every process of the suite asks of the system before it works.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, setrlimit};

/// No core dump and no debugger of another process of this user sees the keys in memory.
pub fn hide_memory() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let hidden = setrlimit(Resource::Core, none)
        .and_then(|()| rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = hidden {
        tracing::warn!(%error, "a core dump of this process would show its keys");
    }
}

/// As many open files as the system allows: a datastore and a few hundred connections need more
/// than the usual 1024.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}
