//! Rust source with its comments, and if asked its literals, blanked out.
//!
//! Enough of a lexer for tidy: nested block comments, strings with escapes, raw strings with any
//! number of `#`, byte and C strings, char literals beside lifetimes. Line numbers stay.

/// Code and literals; comments become blanks.
pub fn without_comments(source: &str) -> String {
    blank(source, false)
}

/// Code only; comments and the content of literals become blanks.
pub fn code_only(source: &str) -> String {
    blank(source, true)
}

/// The part of a file before its unit tests, which stand last by the house's habit.
pub fn before_tests(source: &str) -> &str {
    source.find("#[cfg(test)]\nmod ").map_or(source, |at| &source[..at])
}

fn blank(source: &str, literals_too: bool) -> String {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (length, hide) = if rest.starts_with(b"//") {
            (rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()), true)
        } else if rest.starts_with(b"/*") {
            (block_comment(rest), true)
        } else if let Some(length) = literal(rest, at.checked_sub(1).map(|before| bytes[before])) {
            (length, literals_too)
        } else {
            (1, false)
        };
        for byte in &rest[..length] {
            out.push(if hide && *byte != b'\n' { b' ' } else { *byte });
        }
        at += length;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0usize);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Length of the literal that starts here, prefix included.
fn literal(rest: &[u8], before: Option<u8>) -> Option<usize> {
    let inside_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest.first()? {
        b'"' => Some(quoted(rest, 0, b'"')),
        b'\'' => char_literal(rest),
        b'b' | b'c' | b'r' if !inside_word => {
            let prefix = rest.iter().take(2).take_while(|b| b"bcr".contains(b)).count();
            let raw = rest[..prefix].contains(&b'r');
            let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
            match rest.get(prefix + hashes)? {
                b'"' if raw => Some(raw_string(rest, prefix + hashes, hashes)),
                b'"' if hashes == 0 => Some(quoted(rest, prefix, b'"')),
                b'\'' if hashes == 0 && rest[..prefix] == *b"b" => {
                    Some(quoted(rest, prefix, b'\''))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn quoted(rest: &[u8], open: usize, quote: u8) -> usize {
    let mut at = open + 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8], open: usize, hashes: usize) -> usize {
    let mut end = vec![b'"'];
    end.resize(1 + hashes, b'#');
    let body = open + 1;
    rest[body..]
        .windows(end.len())
        .position(|window| window == end)
        .map_or(rest.len(), |at| body + at + end.len())
}

/// `'x'`, `'\n'`, `'ü'`; nothing for a lifetime.
fn char_literal(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        return Some(quoted(rest, 0, b'\''));
    }
    let text = std::str::from_utf8(&rest[1..rest.len().min(6)])
        .or_else(|error| std::str::from_utf8(&rest[1..1 + error.valid_up_to()]))
        .ok()?;
    let width = text.chars().next()?.len_utf8();
    (rest.get(1 + width) == Some(&b'\'')).then_some(width + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let source = "let a = \"x // no\"; // yes\n/* a /* b */ c */ let b = 'c';\nr#\"raw \" x\"# 'life b\"b\\\"b\" '\\'' 'ü' end";
        let kept = without_comments(source);
        assert!(kept.contains("x // no") && !kept.contains("yes") && !kept.contains(" c "));
        assert_eq!(kept.lines().count(), source.lines().count());
        let code = code_only(source);
        assert!(!code.contains("no") && !code.contains("raw") && !code.contains('ü'));
        assert!(code.contains("'life") && code.contains("end") && code.contains("let b ="));
    }

    #[test]
    fn a_word_that_ends_in_r_starts_no_raw_string() {
        assert_eq!(code_only("for\"x\" after"), "for    after");
        assert_eq!(code_only("r#type after"), "r#type after");
    }

    #[test]
    fn unit_tests_are_cut_off() {
        assert_eq!(before_tests("a\n#[cfg(test)]\nmod tests {}"), "a\n");
        assert_eq!(before_tests("a"), "a");
    }
}
