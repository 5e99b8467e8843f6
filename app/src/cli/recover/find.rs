//! The backups of a server among everything that a kit opens.

use std::path::{Path, PathBuf};

use simsim_format::RecoveryKit;
use simsim_model::Kind;

use crate::cli::rescue::{Copy, Locked, Rescued};
use crate::cli::screen::Screen;
use crate::cli::text::{Style, Text, plain};
use crate::exit::Failure;

/// A datastore, or a copy of one, that the kit opens.
pub struct Source {
    pub folder: PathBuf,
    pub copy: Copy,
}

/// One backup of a server.
pub struct Found<'a> {
    pub source: &'a Source,
    pub saveset: &'a Rescued,
}

/// Opens the folders, before anybody types a kit.
pub fn open(
    folders: &[PathBuf],
    scratch: Option<&Path>,
) -> Result<Vec<(PathBuf, Locked)>, Failure> {
    let open = |folder: &PathBuf| {
        let absolute = std::path::absolute(folder)?;
        Ok((absolute, Copy::open(folder, scratch)?))
    };
    folders.iter().map(open).collect()
}

/// Those that the kit opens; at least one.
pub fn unlock(
    locked: Vec<(PathBuf, Locked)>,
    kit: &RecoveryKit,
    screen: &Screen,
) -> Result<Vec<Source>, Failure> {
    let (mut sources, mut refused) = (Vec::new(), Vec::new());
    for (folder, locked) in locked {
        match locked.unlock(kit) {
            Ok(copy) => sources.push(Source { folder, copy }),
            Err(failure) => refused.push(failure),
        }
    }
    match (sources.is_empty(), refused.pop()) {
        (true, Some(failure)) => Err(failure),
        (_, last) => {
            for failure in refused.into_iter().chain(last) {
                screen.aside(Text::styled(Style::Warn, plain(&failure.message)));
            }
            Ok(sources)
        }
    }
}

/// The newest first.
pub fn candidates<'a>(
    sources: &'a [Source],
    wanted: Option<&str>,
) -> Result<Vec<Found<'a>>, Failure> {
    let mut found: Vec<Found<'_>> = Vec::new();
    for source in sources {
        for saveset in source.copy.self_backups() {
            // The same one may lie in several copies; each of them may be the whole one.
            found.push(Found { source, saveset });
        }
    }
    if found.is_empty() {
        return Err(Failure::new(
            Kind::NotFound,
            "there is no backup of a server here that this kit opens",
        )
        .next("another datastore may have one: name its folder, or a copy of it")
        .next(
            "without any: start a new server and attach the datastore (docs/reference/recover.md)",
        ));
    }
    found.sort_by_key(|one| {
        std::cmp::Reverse((one.saveset.committed_unix_ms, one.saveset.sequence))
    });
    let Some(wanted) = wanted else { return Ok(found) };
    let digits = wanted.to_ascii_lowercase();
    found.retain(|one| digits.len() >= 4 && one.saveset.saveset.to_string().starts_with(&digits));
    if found.is_empty() {
        let text =
            format!("no backup of a server has a saveset that begins with '{}'", plain(wanted));
        return Err(
            Failure::new(Kind::NotFound, text).next("without --saveset the newest is taken")
        );
    }
    Ok(found)
}
