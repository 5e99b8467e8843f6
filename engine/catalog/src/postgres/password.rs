//! The password file, in PostgreSQL's own form: `HOST:PORT:DATABASE:USER:PASSWORD`, one a line.
//!
//! `*` in one of the first four fields means any; a backslash takes the meaning from `:` and from
//! itself. The first line that fits counts. A socket of this host is called `localhost`.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use postgres::config::Host;

use crate::CatalogError;

/// Longer than any password file.
const BYTES_MAX: u64 = 1 << 20;
/// Where a server of PostgreSQL listens when nothing else is said.
const DEFAULT_PORT: u16 = 5432;

/// The password for a connection. `None`: no line fits.
///
/// Errors: `Denied` for a file that its group or others may read.
pub(super) fn find(file: &Path, config: &postgres::Config) -> Result<Option<String>, CatalogError> {
    let failed = |source| CatalogError::io("read the password file", file, source);
    let open = std::fs::File::open(file).map_err(failed)?;
    if open.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
        return Err(CatalogError::Readable { path: file.to_owned() });
    }
    let mut text = String::new();
    open.take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| {
        let port = config.get_ports().get(at).or(config.get_ports().first());
        let host = match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(_) => "localhost".to_owned(),
        };
        (host, port.copied().unwrap_or(DEFAULT_PORT).to_string())
    });
    let (user, database) =
        (config.get_user().unwrap_or_default(), config.get_dbname().unwrap_or_default());
    for (host, port) in hosts {
        let wanted = [host.as_str(), port.as_str(), database, user];
        if let Some(password) = text.lines().find_map(|line| password_of(line, wanted)) {
            return Ok(Some(password));
        }
    }
    Ok(None)
}

/// The password of a line that fits.
fn password_of(line: &str, wanted: [&str; 4]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' if fields.len() < 5 => fields.push(String::new()),
            '\\' => fields.last_mut()?.extend(characters.next()),
            other => fields.last_mut()?.push(other),
        }
    }
    let (password, named) = fields.split_last().filter(|(_, named)| named.len() == 4)?;
    let fits = named.iter().zip(wanted).all(|(field, wanted)| field == "*" || field == wanted);
    fits.then(|| password.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: [&str; 4] = ["db.example", "4711", "catalog", "simsim"];

    #[test]
    fn a_line_fits_by_all_four_fields_or_stars() {
        let of = |line| password_of(line, WANTED);
        assert_eq!(of("db.example:4711:catalog:simsim:s3cret").as_deref(), Some("s3cret"));
        assert_eq!(of("*:*:*:simsim:a\\:b\\\\c:d").as_deref(), Some("a:b\\c:d"));
        assert_eq!(of("db.example:4712:catalog:simsim:s3cret"), None);
        assert_eq!(of("#*:*:*:*:s3cret"), None);
        assert_eq!(of("*:*:*:simsim"), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwords");
        std::fs::write(&file, "*:*:*:simsim:s3cret\n").unwrap();
        let config: postgres::Config = "postgresql://simsim@db.example/catalog".parse().unwrap();
        let mode = |bits| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(bits));
        mode(0o640).unwrap();
        let error = find(&file, &config).unwrap_err();
        assert_eq!(error.kind(), simsim_model::Kind::Denied);
        assert!(error.to_string().contains("chmod 600"), "{error}");
        mode(0o600).unwrap();
        assert_eq!(find(&file, &config).unwrap().as_deref(), Some("s3cret"));
        let other: postgres::Config = "postgresql://other@db.example/catalog".parse().unwrap();
        assert_eq!(find(&file, &other).unwrap(), None);
    }
}
