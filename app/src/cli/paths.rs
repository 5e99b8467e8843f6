//! Paths that people type.
//!
//! A path inside a saveset is written as listings print it: a byte that is no printable text stands
//! as `\xNN`. A backslash that begins nothing of the kind stands for itself, and so do raw bytes, so
//! that a name completed by the shell works as well. Paths of this host are taken as they are.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use simsim_model::{Kind, escape_path};

use crate::exit::Failure;

/// A path inside a saveset, for the server.
pub fn in_saveset(typed: &OsStr) -> String {
    escape_path(&bytes_in_saveset(typed))
}

/// The bytes of a path inside a saveset.
pub fn bytes_in_saveset(typed: &OsStr) -> Vec<u8> {
    let mut path = Vec::with_capacity(typed.len());
    let mut rest = typed.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = match rest {
            [b'\\', b'x', high, low, ..] => hex(*high).zip(hex(*low)).map(|(h, l)| h << 4 | l),
            _ => None,
        };
        match escaped {
            Some(byte) => {
                path.push(byte);
                rest = rest.get(4..).unwrap_or_default();
            }
            None => {
                path.push(*first);
                rest = tail;
            }
        }
    }
    path
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// A path of this host, made absolute, for the server.
pub fn of_this_host(typed: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(typed).map_err(|error| {
        Failure::new(Kind::Invalid, format!("the path '{}': {error}", typed.display()))
    })?;
    // Trailing slashes and dots in the middle say nothing.
    let tidy: std::path::PathBuf = absolute.components().collect();
    Ok(escape_path(tidy.as_os_str().as_bytes()))
}

/// A path of another host: it must be absolute already.
pub fn of_other_host(typed: &Path, host: &str) -> Result<String, Failure> {
    if !typed.is_absolute() {
        let text = format!(
            "the path '{}' is on client '{host}' and must be absolute: begin it with /",
            typed.display()
        );
        return Err(Failure::new(Kind::Invalid, text));
    }
    of_this_host(typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fid01_a_name_of_any_bytes_can_be_typed_as_it_is_printed_or_as_it_is() {
        for name in [b"plain".as_slice(), b"a\nb", b"\xff\xfe", b"back\\slash", "grün".as_bytes()]
        {
            let printed = escape_path(name);
            assert_eq!(bytes_in_saveset(OsStr::new(&printed)), name, "as printed: {printed}");
        }
        for raw in [b"plain".as_slice(), b"\xff", b"a\\b", b"\\", b"\\x", b"\\x4", b"\\xzz"] {
            assert_eq!(bytes_in_saveset(OsStr::from_bytes(raw)), raw, "as it is");
        }
    }

    #[test]
    fn paths_become_absolute() {
        assert_eq!(of_this_host(Path::new("/a/./b/")).unwrap(), "/a/b");
        assert!(of_this_host(Path::new("x")).unwrap().starts_with('/'));
        assert!(of_other_host(Path::new("x"), "web").is_err());
    }
}
