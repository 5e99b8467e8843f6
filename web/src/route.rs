//! From a path to a page.

use crate::objects;
use crate::pages::{
    approvals, audit, clients, compare, files, history, job, jobs, me, overview, people, plan,
    ports, restore, retention, saveset, search, set_up, storage, tasks,
};
use crate::visit::{Failure, Shown, Visit};
use crate::web::Web;

/// The page at the visit's path.
pub async fn page(web: &Web, visit: &Visit) -> Shown {
    let parts = parts(&visit.path).ok_or_else(|| Failure::not_found(visit.path.clone()))?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        [] => overview::show(visit).await,
        ["jobs"] => jobs::show(visit).await,
        ["queue", act] => jobs::queue(visit, act).await,
        ["jobs", number] => job::show(visit, number).await,
        ["jobs", number, act] => job::act(visit, number, act).await,
        ["restore"] => restore::choose(visit).await,
        ["search"] => search::show(visit).await,
        ["history"] => history::show(visit).await,
        ["savesets", id] => saveset::show(visit, id).await,
        ["savesets", id, "files"] => files::show(visit, id).await,
        ["savesets", id, "download"] => files::download(visit, id).await,
        ["savesets", id, "preview"] => files::preview(visit, id).await,
        ["savesets", id, "restore"] => restore::plan(visit, id).await,
        ["savesets", id, "compare", other] => compare::show(visit, id, other).await,
        ["savesets", id, act] => saveset::act(visit, id, act).await,
        ["clients"] => clients::list(visit).await,
        ["clients", "add"] => clients::add(web, visit).await,
        ["clients", name] => clients::show(visit, name).await,
        ["clients", name, act] => clients::act(visit, name, act).await,
        ["tasks", name] => tasks::show(visit, name).await,
        ["tasks", name, act] => tasks::act(visit, name, act).await,
        ["set-up"] => set_up::show(visit).await,
        ["set-up", "plan"] => plan::show(visit).await,
        ["set-up", noun] => objects::list(visit, noun).await,
        ["set-up", noun, "new"] => objects::new(visit, noun).await,
        ["set-up", noun, "check"] => objects::check(visit, noun).await,
        ["set-up", noun, "change", name] => objects::change(visit, noun, name).await,
        ["set-up", noun, "remove", name] => objects::remove(visit, noun, name).await,
        ["set-up", noun, "act", act, name] => objects::act(visit, noun, act, name).await,
        ["retention"] => retention::show(visit).await,
        ["ports"] => ports::show(visit).await,
        ["ports", "hosts"] => ports::hosts(visit).await,
        ["storage"] => storage::list(visit).await,
        ["storage", name] => storage::show(visit, name).await,
        ["storage", name, act] => storage::act(visit, name, act).await,
        ["people"] => people::show(visit).await,
        ["people", "sessions", session] => people::end(visit, "/people", session).await,
        ["approvals"] => approvals::list(visit).await,
        ["approvals", number] => approvals::show(visit, number).await,
        ["audit"] => audit::show(visit).await,
        ["me"] => me::show(visit).await,
        ["me", "sessions", session] => people::end(visit, "/me", session).await,
        ["kit"] => me::kit(visit).await,
        _ => Err(Failure::not_found(visit.path.clone())),
    }
}

/// The parts of a path, each decoded; a `+` is one.
fn parts(path: &str) -> Option<Vec<String>> {
    let parts = path.split('/').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let read = simsim_console::page::fields(&part.replace('+', "%2B").replace('=', "%3D"))?;
            read.into_iter().next().map(|(name, _)| name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn parts_of_paths_hold_any_name() {
        let of = |path: &str| super::parts(path).unwrap();
        assert_eq!(of("/"), Vec::<String>::new());
        assert_eq!(of("/tasks/a%2Fb%20%3F+c=d"), ["tasks", "a/b ?+c=d"]);
        assert_eq!(super::parts("/%ff"), None);
    }
}
