//! Where a host's pair lies: `tls.key` and `tls.crt` in its state folder, PEM, the key of mode 0600.
//!
//! Another pair takes their place in four steps, and a death after any of them leaves the old pair or
//! the new one, whole:
//!
//! 1. `tls.next.key` is written. The old pair counts.
//! 2. `tls.next.crt` is written. From here on the new pair counts: who opens the folder takes the steps
//!    that are left.
//! 3. `tls.next.crt` becomes `tls.crt`,
//! 4. and `tls.next.key` becomes `tls.key`.
//!
//! Each file is complete or not there, and each step is on the disk before the next one begins. A pair
//! that an administrator put there is never touched.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::TlsError;
use super::pair::{Pair, is_made_here, new_key, own_key, self_signed};

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct PairFiles(PathBuf);

impl PairFiles {
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Reads the pair, or makes it for the given names of this host; also the text of the key.
    ///
    /// # Errors
    /// Files that cannot be read or written, or that do not belong together.
    pub fn open(&self, names: &[String]) -> Result<(Pair, Vec<u8>), TlsError> {
        let (key_file, certificate_file) = (self.key(), self.certificate());
        if !key_file.exists() {
            write(&key_file, new_key()?.as_bytes(), 0o600)?;
        }
        self.go_on()?;
        let key_pem = read(&key_file)?;
        let content = |file: &Path, why: String| TlsError::Content { file: file.to_owned(), why };
        if !certificate_file.exists() {
            let Some(own) = own_key(&key_pem) else {
                let why = "there is a key and no certificate: put the certificate there as tls.crt";
                return Err(content(&key_file, why.to_owned()));
            };
            write(&certificate_file, self_signed(&own, names)?.as_bytes(), 0o644)?;
        }
        let pair = Pair::read(&key_pem, &read(&certificate_file)?)
            .map_err(|error| content(&certificate_file, error.to_string()))?;
        Ok((pair, key_pem))
    }

    /// Keeps another certificate of the same key.
    pub fn keep_certificate(&self, chain_pem: &str) -> Result<(), TlsError> {
        write(&self.certificate(), chain_pem.as_bytes(), 0o644)
    }

    /// Refuses when somebody has put another key there since it was read.
    pub fn still_holds(&self, key_pem: &[u8]) -> Result<(), TlsError> {
        if read(&self.key())? == key_pem {
            return Ok(());
        }
        let why = "another key was put there by hand: it is shown after a restart, and nothing is changed \
                   until then";
        Err(TlsError::Content { file: self.key(), why: why.to_owned() })
    }

    /// Step 1: keeps a new key beside the old one, in place of an earlier such one.
    pub fn keep_next_key(&self, key_pem: &str) -> Result<(), TlsError> {
        write(&self.next_key(), key_pem.as_bytes(), 0o600)
    }

    /// The key of step 1; `None` when there is none.
    pub fn read_next_key(&self) -> Result<Option<Vec<u8>>, TlsError> {
        match fs::read(self.next_key()) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(TlsError::File { file: self.next_key(), source }),
        }
    }

    /// Steps 2 to 4: the new key and this certificate of it take the place of the old pair.
    pub fn take_next(&self, chain_pem: &str) -> Result<(), TlsError> {
        write(&self.next_certificate(), chain_pem.as_bytes(), 0o644)?;
        rename(&self.next_certificate(), &self.certificate())?;
        simsim_model::failpoint::hit("net.tls_certificate_taken");
        rename(&self.next_key(), &self.key())
    }

    /// Takes the steps that a death left, or the traces of a change away that did not come about.
    fn go_on(&self) -> Result<(), TlsError> {
        let (next_key, next_certificate) = (self.read_next_key()?, self.next_certificate());
        if next_key.is_none() && !next_certificate.exists() {
            return Ok(());
        }
        let ours = is_made_here(&read(&self.key())?);
        let belongs = |certificate: &Path| -> bool {
            let (Some(key), Ok(chain)) = (&next_key, fs::read(certificate)) else { return false };
            Pair::read(key, &chain).is_ok()
        };
        if ours && belongs(&next_certificate) {
            rename(&next_certificate, &self.certificate())?;
        }
        if ours && belongs(&self.certificate()) {
            rename(&self.next_key(), &self.key())?;
        }
        for trace in [self.next_key(), next_certificate] {
            match fs::remove_file(&trace) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(TlsError::File { file: trace, source });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn key(&self) -> PathBuf {
        self.0.join("tls.key")
    }

    fn certificate(&self) -> PathBuf {
        self.0.join("tls.crt")
    }

    fn next_key(&self) -> PathBuf {
        self.0.join("tls.next.key")
    }

    fn next_certificate(&self) -> PathBuf {
        self.0.join("tls.next.crt")
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|source| TlsError::File { file: file.to_owned(), source })
}

/// Complete or not at all: a new file takes the old one's place.
fn write(file: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let wrote = (|| -> io::Result<()> {
        // A leftover may have another mode.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut options = fs::OpenOptions::new();
        let mut opened = options.write(true).create_new(true).mode(mode).open(&new)?;
        opened.write_all(bytes)?;
        opened.sync_all()
    })();
    wrote.map_err(|source| TlsError::File { file: file.to_owned(), source })?;
    rename(&new, file)
}

/// On the disk when it returns.
fn rename(from: &Path, to: &Path) -> Result<(), TlsError> {
    let renamed = fs::rename(from, to)
        .and_then(|()| fs::File::open(to.parent().unwrap_or(Path::new(".")))?.sync_all());
    renamed.map_err(|source| TlsError::File { file: to.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a pair, and the files of a second pair of this host.
    fn folder() -> (tempfile::TempDir, PairFiles, [Vec<u8>; 4]) {
        let folder = tempfile::tempdir().unwrap();
        let files = PairFiles::new(folder.path());
        let names = ["vault".to_owned()];
        files.open(&names).unwrap();
        let next_key = new_key().unwrap();
        let next_chain = self_signed(&own_key(next_key.as_bytes()).unwrap(), &names).unwrap();
        let old = [files.key(), files.certificate()].map(|file| fs::read(file).unwrap());
        let [key, chain] = old;
        (folder, files, [key, chain, next_key.into_bytes(), next_chain.into_bytes()])
    }

    #[test]
    fn a_death_after_any_step_leaves_the_old_pair_or_the_new_one_and_no_trace() {
        for step in 1..=4 {
            for torn in [false, true] {
                let (folder, files, [key, chain, next_key, next_chain]) = folder();
                let old = Pair::read(&key, &chain).unwrap().pin;
                let new = Pair::read(&next_key, &next_chain).unwrap().pin;
                let put = |file: PathBuf, bytes: &[u8]| fs::write(file, bytes).unwrap();
                match step {
                    1 => put(files.next_key(), &next_key),
                    2 => {
                        put(files.next_key(), &next_key);
                        put(files.next_certificate(), &next_chain);
                    }
                    3 => {
                        put(files.next_key(), &next_key);
                        put(files.certificate(), &next_chain);
                    }
                    _ => {
                        put(files.key(), &next_key);
                        put(files.certificate(), &next_chain);
                    }
                }
                if torn {
                    // What a file was written as before it got its name.
                    put(folder.path().join("tls.next.key.new"), &next_key[..9]);
                    put(folder.path().join("tls.next.crt.new"), &next_chain[..9]);
                }
                let (pair, _) = files.open(&[]).unwrap();
                let expected = if step == 1 { old } else { new };
                assert_eq!(pair.pin, expected, "after step {step}");
                assert!(!files.next_key().exists() && !files.next_certificate().exists());
                assert_eq!(files.open(&[]).unwrap().0.pin, expected);
            }
        }
    }

    #[test]
    fn traces_beside_a_pair_of_the_administrator_go_and_the_pair_stays() {
        let (_folder, files, [_, _, next_key, next_chain]) = folder();
        let key = rcgen::KeyPair::generate().unwrap();
        let chain = self_signed(&key, &["yours".to_owned()]).unwrap();
        fs::write(files.key(), key.serialize_pem()).unwrap();
        fs::write(files.certificate(), &chain).unwrap();
        fs::write(files.next_key(), next_key).unwrap();
        fs::write(files.next_certificate(), next_chain).unwrap();
        files.open(&[]).unwrap();
        assert_eq!(fs::read(files.key()).unwrap(), key.serialize_pem().into_bytes());
        assert_eq!(fs::read(files.certificate()).unwrap(), chain.into_bytes());
        assert!(!files.next_key().exists() && !files.next_certificate().exists());
    }

    #[test]
    fn a_certificate_without_its_key_is_no_change() {
        let (_folder, files, [key, chain, _, next_chain]) = folder();
        fs::write(files.next_certificate(), next_chain).unwrap();
        let (pair, read) = files.open(&[]).unwrap();
        assert_eq!((pair.pin, &read), (Pair::read(&key, &chain).unwrap().pin, &key));
        assert!(!files.next_certificate().exists());
    }
}
