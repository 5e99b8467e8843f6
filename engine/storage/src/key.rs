//! Keys: relative paths of plain components, so that no key leaves its folder.

use crate::StorageError;

/// Letters, digits, `.`, `_` and `-`; no component is empty or starts with a dot.
pub(crate) fn check(key: &str) -> Result<(), StorageError> {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.len() <= 128
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if key.len() <= 512 && key.split('/').all(plain) {
        Ok(())
    } else {
        Err(StorageError::Key { key: key.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn keys_that_leave_the_folder_are_refused() {
        for bad in ["", "/a", "a/", "../a", "a/../b", "a//b", ".hidden", "a\0b", "a b"] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(check("packs/3f/3fab-1_x.run").is_ok());
    }
}
