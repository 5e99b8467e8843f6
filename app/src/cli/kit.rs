//! Recovery kits on paper, in files and from the keyboard.

use std::io::{BufRead, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use simsim_format::RecoveryKit;
use simsim_model::Kind;
use zeroize::Zeroizing;

use super::text::plain;
use crate::exit::Failure;

/// A kit's file is small.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Groups of a kit, and letters of a group.
pub const GROUPS: usize = 11;
const LETTERS: usize = 6;

/// The groups of a kit in a file, as one text. '-' reads standard input. The file may be the page
/// that `key kit new` wrote, or the groups alone.
pub fn read_text(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let shown = || plain(&file.to_string_lossy()).into_owned();
    let mut bytes = Zeroizing::new(Vec::new());
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
    };
    read.map_err(|error| {
        Failure::new(Kind::of_io(&error), format!("the recovery kit {}: {error}", shown()))
    })?;
    let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
    groups_in(&text).ok_or_else(|| {
        Failure::new(Kind::Invalid, format!("there is no recovery kit in {}", shown())).next(
            "a kit is eleven groups of six letters and digits, as printed by 'simsim key kit new'",
        )
    })
}

/// The groups in a text of any kind: eleven words of six letters in a row that belong together, on
/// one line or on several.
fn groups_in(text: &str) -> Option<Zeroizing<String>> {
    let mut words: Vec<&str> = Vec::new();
    let mut last = None;
    for line in text.lines() {
        // '#' begins a remark. A page numbers its groups: "1 ABCDEF".
        for word in
            line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|_| !line.starts_with('#'))
        {
            if word.len() == LETTERS {
                words.push(word);
                if let Some(row) = words.len().checked_sub(GROUPS).and_then(|at| words.get(at..)) {
                    let joined = Zeroizing::new(row.join("-"));
                    if RecoveryKit::parse(&joined).is_ok() {
                        return Some(joined);
                    }
                    last = Some(joined);
                }
            }
        }
    }
    // Eleven words that do not belong together: a typing error, to be named by who opens it.
    last
}

/// The kit from its groups. A typing error is named.
pub fn parse(groups: &str) -> Result<RecoveryKit, Failure> {
    RecoveryKit::parse(groups).map_err(|error| Failure::new(Kind::Invalid, error.to_string()))
}

/// Asks for the groups, one after the other, on the terminal.
pub fn ask() -> Result<RecoveryKit, Failure> {
    let mut groups: Vec<Zeroizing<String>> = Vec::new();
    eprintln!("Type the {GROUPS} groups of the recovery kit, one at a time or all at once.");
    while groups.len() < GROUPS {
        eprint!("group {} of {GROUPS}: ", groups.len() + 1);
        let _ = std::io::stderr().flush();
        let mut line = Zeroizing::new(String::new());
        if std::io::stdin().lock().read_line(&mut line)? == 0 {
            return Err(Failure::new(Kind::Cancelled, "the recovery kit was not typed to its end"));
        }
        let typed: Vec<_> = line
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(|word| Zeroizing::new(word.to_ascii_uppercase()))
            .collect();
        match typed.iter().find(|word| word.len() != LETTERS) {
            Some(_) => eprintln!("  a group has {LETTERS} letters and digits; once more"),
            None => groups.extend(typed),
        }
    }
    let mut joined = Zeroizing::new(String::new());
    for group in &groups {
        joined.push_str(group);
        joined.push('-');
    }
    parse(&joined)
}

/// Writes a page to a new file that only its owner can read; durable when it returns.
pub fn write_page(file: &Path, text: &str) -> Result<(), Failure> {
    let written = (|| {
        let mut out =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()
    })();
    written.map_err(|error| {
        let text = format!("the file {}: {error}", plain(&file.to_string_lossy()));
        let failure = Failure::new(Kind::of_io(&error), text);
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            failure.next(
                "name a file that does not exist yet: a kit is never written over another one",
            )
        } else {
            failure
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use simsim_format::{KitOwner, KitPage};

    #[test]
    fn a_kit_is_found_in_the_page_in_a_line_and_in_pieces() {
        let kit = RecoveryKit::generate().unwrap();
        let groups = kit.groups();
        let owner = KitOwner::Server { name: "simsim".into(), fingerprint: "SHA256:abcdef".into() };
        let page = KitPage { owner: &owner, groups: &groups };
        let texts = [
            page.text().to_string(),
            page.html().to_string(),
            groups.join("-"),
            groups.join(" ").to_lowercase(),
            groups.join("\n"),
            format!("# Recovery remark remark remark\n{}\n", groups.join(" ")),
            format!("my notes: monday\n{}\nbehind\n", groups.join("-")),
        ];
        for text in texts {
            let found = groups_in(&text).unwrap_or_else(|| panic!("{text}"));
            assert!(parse(&found).unwrap() == kit, "{text}");
        }
        assert!(groups_in("nothing here").is_none());
        assert!(groups_in(&groups[..10].join("-")).is_none());
        let mut wrong = groups.clone();
        wrong.swap(2, 3);
        let found = groups_in(&wrong.join("-")).unwrap();
        assert_eq!(parse(&found).err().unwrap().kind, Kind::Invalid);
    }
}
