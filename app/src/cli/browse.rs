//! `simsim ls`, `find`, `diff`: looking into savesets without restoring them.

use std::ffi::OsString;

use simsim_server::api::{
    ChangeKind, ChangeView, DiffReply, DiffRequest, EntryView, FindReply, FindRequest, LsReply,
    LsRequest,
};

use super::context::Context;
use super::paging::{PageArguments, Pages};
use super::paths;
use super::reference;
use super::screen::Screen;
use super::text::{Style, Text};
use super::words::{count, size, when};
use crate::exit::{self, Failure};

#[derive(clap::Args, Debug)]
pub struct LsArguments {
    #[arg(default_value = "latest", help = reference::HELP)]
    saveset: String,
    /// A folder or file in it, written as listings print it
    #[arg(default_value = "/", hide_default_value = true)]
    path: OsString,
    /// With mode, owner, size and time
    #[arg(long, short)]
    long: bool,
    #[command(flatten)]
    page: PageArguments,
}

#[derive(clap::Args, Debug)]
pub struct FindArguments {
    /// What to look for, with *, ? and […]; against the name, or the whole path where it holds a /
    pattern: String,
    #[arg(default_value = "latest", help = reference::HELP)]
    saveset: String,
    /// Only beneath this folder
    #[arg(long = "in", value_name = "PATH", default_value = "/", hide_default_value = true)]
    below: OsString,
    /// With mode, owner, size and time
    #[arg(long, short)]
    long: bool,
    #[command(flatten)]
    page: PageArguments,
}

#[derive(clap::Args, Debug)]
pub struct DiffArguments {
    /// The older saveset, named as for 'simsim ls'
    from: String,
    /// The newer saveset
    to: String,
    /// Only what lies in this folder
    #[arg(default_value = "/", hide_default_value = true)]
    path: OsString,
    #[command(flatten)]
    page: PageArguments,
}

pub async fn ls(cx: &Context, arguments: LsArguments) -> Result<u8, Failure> {
    let saveset = reference::resolve(cx, &arguments.saveset).await?.saveset;
    let path = paths::in_saveset(&arguments.path);
    let mut pages = Pages::new(&arguments.page);
    while let Some((after, limit)) = pages.next() {
        let (saveset, path) = (saveset.to_string(), path.clone());
        let request = LsRequest { saveset, task: None, path, after, limit };
        let reply: LsReply = cx.ask("saveset.ls", &request).await?;
        let name = |entry: &EntryView| name_of(&entry.path).to_owned();
        pages.take(&cx.screen, reply.entries, reply.more, name, |screen, entries| {
            entries_text(screen, entries, arguments.long, name_of)
        })?;
    }
    let (entries, more) = pages.end(&cx.screen);
    cx.show(&LsReply { saveset, entries, more }, |_, _| Ok(()))?;
    Ok(exit::DONE)
}

pub async fn find(cx: &Context, arguments: FindArguments) -> Result<u8, Failure> {
    let saveset = reference::resolve(cx, &arguments.saveset).await?.saveset;
    let path = paths::in_saveset(&arguments.below);
    let mut pages = Pages::new(&arguments.page);
    while let Some((after, limit)) = pages.next() {
        let request = FindRequest {
            saveset: saveset.to_string(),
            task: None,
            pattern: arguments.pattern.clone(),
            path: path.clone(),
            after,
            limit,
        };
        let reply: FindReply = cx.ask("saveset.find", &request).await?;
        let path = |entry: &EntryView| entry.path.clone();
        pages.take(&cx.screen, reply.entries, reply.more, path, |screen, entries| {
            entries_text(screen, entries, arguments.long, |path| path)
        })?;
    }
    let (entries, more) = pages.end(&cx.screen);
    cx.show(&FindReply { saveset, entries, more }, |_, _| Ok(()))?;
    Ok(exit::DONE)
}

pub async fn diff(cx: &Context, arguments: DiffArguments) -> Result<u8, Failure> {
    let from = reference::resolve(cx, &arguments.from).await?.saveset;
    let to = reference::resolve(cx, &arguments.to).await?.saveset;
    let path = paths::in_saveset(&arguments.path);
    let mut pages = Pages::new(&arguments.page);
    let mut differs = false;
    while let Some((after, limit)) = pages.next() {
        let (from, to, path) = (from.to_string(), to.to_string(), path.clone());
        let request = DiffRequest { from, to, path, after, limit };
        let reply: DiffReply = cx.ask("saveset.diff", &request).await?;
        differs |= !reply.changes.is_empty();
        let path = |change: &ChangeView| change.path.clone();
        pages.take(&cx.screen, reply.changes, reply.more, path, |screen, changes| {
            screen.lines(changes.iter().map(change_line))
        })?;
    }
    if !differs && !cx.screen.is_json() {
        cx.screen.aside("no difference");
    }
    let (changes, more) = pages.end(&cx.screen);
    cx.show(&DiffReply { from, to, changes, more }, |_, _| Ok(()))?;
    Ok(exit::DONE)
}

fn change_line(change: &ChangeView) -> Text {
    let (style, sign) = match change.change {
        ChangeKind::Added => (Style::Good, "+"),
        ChangeKind::Removed => (Style::Bad, "-"),
        ChangeKind::Content => (Style::Warn, "~"),
        ChangeKind::Metadata => (Style::Dim, "a"),
    };
    Text::styled(style, sign).plain(" ").plain(&change.path)
}

/// Entries for people: names, or `ls -l`'s columns with all sizes aligned.
pub fn entries_text(
    screen: &Screen,
    entries: &[EntryView],
    long: bool,
    shown_name: impl Fn(&str) -> &str,
) -> Result<(), Failure> {
    if !long {
        return screen.lines(entries.iter().map(|entry| name_text(entry, shown_name(&entry.path))));
    }
    let owner = |entry: &EntryView| format!("{}:{}", entry.uid, entry.gid);
    let owner_width = entries.iter().map(|entry| owner(entry).len()).max().unwrap_or(0);
    screen.lines(entries.iter().map(|entry| {
        let bytes =
            if screen.width().is_some() { size(entry.bytes) } else { entry.bytes.to_string() };
        Text::from(mode_text(entry))
            .plain(" ")
            .then(Text::from(owner(entry)).pad(owner_width, false))
            .plain(" ")
            .then(Text::from(bytes).pad(if screen.width().is_some() { 8 } else { 14 }, true))
            .plain("  ")
            .dim(when(entry.mtime_unix_s.saturating_mul(1000)))
            .plain("  ")
            .then(name_text(entry, shown_name(&entry.path)))
            .then(beneath(entry))
    }))
}

fn beneath(entry: &EntryView) -> Text {
    match (entry.kind.as_str(), entry.files) {
        ("directory", 1) => Text::new().dim("  (1 file)"),
        ("directory", files) => Text::new().dim(format!("  ({} files)", count(files))),
        _ => Text::new(),
    }
}

fn name_text(entry: &EntryView, name: &str) -> Text {
    let text = match entry.kind.as_str() {
        "directory" if name.ends_with('/') => Text::new().bold(name),
        "directory" => Text::new().bold(format!("{name}/")),
        "file" => Text::from(name),
        _ => Text::styled(Style::Busy, name),
    };
    let text = match &entry.link_target {
        Some(target) => text.dim(format!(" -> {target}")),
        None => text,
    };
    if entry.missing { text.add(Style::Bad, "  (content could not be read)") } else { text }
}

/// As `ls -l` writes it.
fn mode_text(entry: &EntryView) -> String {
    let kind = match entry.kind.as_str() {
        "directory" => 'd',
        "symlink" => 'l',
        "fifo" => 'p',
        "socket" => 's',
        "char_device" => 'c',
        "block_device" => 'b',
        _ => '-',
    };
    let mut text = String::from(kind);
    let triples = [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')];
    for (shift, special, with, without) in triples {
        let bits = entry.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (entry.mode & special != 0, bits & 1 != 0) {
            (true, true) => with,
            (true, false) => without,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// The last component.
pub fn name_of(path: &str) -> &str {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_read_as_ls_writes_them() {
        let mode = |kind: &str, mode| {
            mode_text(&EntryView {
                path: String::new(),
                kind: kind.to_owned(),
                mode,
                uid: 0,
                gid: 0,
                bytes: 0,
                files: 0,
                mtime_unix_s: 0,
                mtime_nanos: 0,
                nlink: 1,
                link_target: None,
                missing: false,
            })
        };
        assert_eq!(mode("file", 0o644), "-rw-r--r--");
        assert_eq!(mode("directory", 0o1777), "drwxrwxrwt");
        assert_eq!(mode("file", 0o6755), "-rwsr-sr-x");
        assert_eq!(mode("socket", 0o7000), "s--S--S--T");
        assert_eq!(name_of("/a/b"), "b");
        assert_eq!(name_of("/"), "/");
    }
}
