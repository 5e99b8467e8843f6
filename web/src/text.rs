//! Texts that people read. The English text is its own name, as in message catalogs since gettext:
//! `web/texts/en.txt` lists them all (a test holds it), and a translation is a file of pairs.

/// A text in the language of the pages.
pub fn t(english: &'static str) -> &'static str {
    english
}

/// A text with its gaps `{}` filled in order.
pub fn tf(english: &'static str, gaps: &[&(dyn std::fmt::Display + Sync)]) -> String {
    let mut out = String::with_capacity(english.len() + 16);
    let mut gaps = gaps.iter();
    let mut rest = t(english);
    while let Some((before, after)) = rest.split_once("{}") {
        out.push_str(before);
        if let Some(gap) = gaps.next() {
            out.push_str(&gap.to_string());
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// So many of something: both forms are texts, the second one with a gap for the number.
pub fn tn(number: impl TryInto<u64>, one: &'static str, many: &'static str) -> String {
    match number.try_into() {
        Ok(1) => one.to_owned(),
        Ok(number) => tf(many, &[&crate::words::count(number)]),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_something_and_many() {
        let files = |number: usize| tn(number, "1 file", "{} files");
        assert_eq!([files(0), files(1), files(12)], ["0 files", "1 file", "12 files"]);
    }

    #[test]
    fn gaps_are_filled_in_order() {
        assert_eq!(tf("{} of {} files", &[&3, &"ten"]), "3 of ten files");
        assert_eq!(tf("nothing", &[]), "nothing");
        assert_eq!(tf("{}", &[&"{}"]), "{}");
    }

    /// Every text of the pages, from the sources.
    fn texts() -> std::collections::BTreeSet<String> {
        let mut found = std::collections::BTreeSet::new();
        let mut folders =
            vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("text.rs") {
                    take(&std::fs::read_to_string(&path).unwrap(), &mut found);
                }
            }
        }
        found.extend(crate::objects::texts().into_iter().map(str::to_owned));
        found
    }

    /// The literals after `t(` and `tf(`.
    fn take(source: &str, found: &mut std::collections::BTreeSet<String>) {
        for call in ["t(", "tf("] {
            for (at, _) in source.match_indices(call) {
                let before = source[..at].chars().next_back().unwrap_or(' ');
                if before.is_alphanumeric() || before == '_' {
                    continue;
                }
                let rest = source[at + call.len()..].trim_start();
                let Some(rest) = rest.strip_prefix('"') else { continue };
                let mut text = String::new();
                let mut letters = rest.chars().peekable();
                while let Some(letter) = letters.next() {
                    match letter {
                        '"' => break,
                        '\\' => match letters.next() {
                            Some('\n') => {
                                while letters.peek().is_some_and(|next| next.is_whitespace()) {
                                    letters.next();
                                }
                            }
                            Some('n') => text.push_str("\\n"),
                            Some(other) => text.push(other),
                            None => break,
                        },
                        letter => text.push(letter),
                    }
                }
                found.insert(text);
            }
        }
    }

    #[test]
    fn every_text_stands_in_the_list() {
        let list = concat!(env!("CARGO_MANIFEST_DIR"), "/texts/en.txt");
        let now = texts().into_iter().collect::<Vec<_>>().join("\n") + "\n";
        let kept = std::fs::read_to_string(list).unwrap_or_default();
        if kept != now && std::env::var_os("SIMSIM_WRITE_TEXTS").is_some() {
            std::fs::write(list, &now).unwrap();
            return;
        }
        assert!(kept == now, "web/texts/en.txt is behind: run this test with SIMSIM_WRITE_TEXTS=1");
    }
}
