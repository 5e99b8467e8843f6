//! Files of the state folder without which a fresh host cannot go on as the same server.
//!
//! The catalog goes its own way. What a device or a client can make again, or must not be in two places
//! (locks, sockets, keys that only a client holds and its own kit opens), is not among them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::ServerError;

/// The settings of the daemon, wherever they lay.
pub(super) const SETTINGS: &str = "simsim.toml";
pub(super) const MASTER: &str = "server/master.key";
const MASTER_COPIES: [&str; 2] = ["server/master.key.2", "server/master.key.3"];
const IDENTITY: &str = "server/identity";

pub(super) const PASSWORDS: &str = "server/catalog.passwords";

/// What goes along, relative to the state folder, where it is there.
const FILES: [&str; 10] = [
    IDENTITY,
    MASTER,
    PASSWORDS,
    "tls.key",
    "tls.crt",
    "tls.next.key",
    "tls.next.crt",
    "console.key",
    "console.crt",
    "client/policy.toml",
];
/// One file: they are keys, certificates and a page of settings.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// One of them. Wiped when dropped.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptFile {
    /// Relative to the state folder.
    pub name: String,
    #[serde(with = "base64")]
    pub bytes: Vec<u8>,
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl std::fmt::Debug for KeptFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptFile").field("name", &self.name).finish_non_exhaustive()
    }
}

mod base64 {
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use zeroize::Zeroizing;

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(BASE64.encode(bytes)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = Zeroizing::new(String::deserialize(from)?);
        BASE64.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}

/// Reads them, as one text to be sealed.
pub(super) fn collect(
    state: &Path,
    settings: Option<&Path>,
) -> Result<Zeroizing<Vec<u8>>, ServerError> {
    let mut kept = Vec::new();
    for name in FILES {
        let mut path = state.join(name);
        if name == MASTER {
            // Any copy that is whole will do; the server wrote damaged ones anew when it started.
            let copies = [MASTER].iter().chain(&MASTER_COPIES).map(|copy| state.join(copy));
            path = copies.into_iter().find(|copy| crate::keys::is_master_key(copy)).unwrap_or(path);
        }
        match read(&path)? {
            Some(bytes) => kept.push(KeptFile { name: name.to_owned(), bytes }),
            None if name == MASTER || name == IDENTITY => {
                let text = format!(
                    "{} is gone: the server cannot be backed up without it",
                    path.display()
                );
                return Err(ServerError::Key(text));
            }
            None => {}
        }
    }
    if let Some(bytes) = settings.map(read).transpose()?.flatten() {
        kept.push(KeptFile { name: SETTINGS.to_owned(), bytes });
    }
    let text = serde_json::to_vec(&kept).map_err(|error| ServerError::Lost(error.to_string()))?;
    Ok(Zeroizing::new(text))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, ServerError> {
    use std::io::Read;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ServerError::io("read", path, source)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| ServerError::io("read", path, source))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ServerError::Refused(format!("{} is too large to be kept", path.display())));
    }
    Ok(Some(bytes))
}

/// Reads what [`collect`] made. Only names that this version knows, so that none leads elsewhere.
pub(super) fn parse(text: &[u8]) -> Result<Vec<KeptFile>, ServerError> {
    let kept: Vec<KeptFile> = serde_json::from_slice(text)
        .map_err(|error| ServerError::Key(format!("the keys of the server's backup: {error}")))?;
    for file in &kept {
        if file.name != SETTINGS && !FILES.contains(&file.name.as_str()) {
            return Err(ServerError::Key(format!(
                "the server's backup holds a file '{}' that this version does not know: use the version \
                 that made it, or a later one",
                file.name
            )));
        }
    }
    for needed in [IDENTITY, MASTER] {
        if !kept.iter().any(|file| file.name == needed) {
            return Err(ServerError::Key(format!("the server's backup lacks {needed}")));
        }
    }
    Ok(kept)
}

/// Writes them beneath a folder, for its owner only, durable when it returns. Answers their names.
pub(super) fn write(kept: &[KeptFile], folder: &Path) -> Result<Vec<String>, ServerError> {
    let mut names = Vec::new();
    for file in kept {
        names.push(file.name.clone());
        write_one(folder, &file.name, &file.bytes)?;
        if file.name == MASTER {
            for copy in MASTER_COPIES {
                names.push(copy.to_owned());
                write_one(folder, copy, &file.bytes)?;
            }
        }
    }
    Ok(names)
}

fn write_one(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), ServerError> {
    let path = folder.join(name);
    let written = (|| {
        let parent = path.parent().unwrap_or(folder);
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        let _ = std::fs::remove_file(&path);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        File::open(parent)?.sync_all()
    })();
    written.map_err(|source| ServerError::io("write", &path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_would_lie_elsewhere_is_refused() {
        let kept = |name: &str| KeptFile { name: name.to_owned(), bytes: vec![1] };
        let whole = [kept(IDENTITY), kept(MASTER), kept(SETTINGS)];
        let text = serde_json::to_vec(&whole).unwrap();
        assert_eq!(parse(&text).unwrap().len(), 3);
        for name in ["../up", "/etc/passwd", "server/../x", "server/catalog.db"] {
            let text = serde_json::to_vec(&[kept(IDENTITY), kept(MASTER), kept(name)]).unwrap();
            assert!(parse(&text).is_err(), "{name}");
        }
        let text = serde_json::to_vec(&[kept(IDENTITY)]).unwrap();
        assert!(parse(&text).unwrap_err().to_string().contains("master.key"));
    }
}
