//! Where a catalog lies in PostgreSQL: the connection string.
//!
//! The string is PostgreSQL's own, `postgresql://USER@HOST:PORT/DATABASE?NAME=VALUE&…`. A password
//! never stands in it, because settings are read and copied by many: it comes from a password file.
//! Over a network the way is TLS, and the server proves that it is the host that was named; what
//! PostgreSQL also offers (`prefer`, `require`, `verify-ca`) lets somebody between the two answer in
//! the server's place, and is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postgres::config::{Host, SslMode, TargetSessionAttrs};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{connections, fence, password};
use crate::CatalogError;
use crate::sql::{Session, SqlError, Wire};

/// A server that does not answer for so long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What was sent and is not acknowledged for so long ends the connection; so does a server that is
/// silent for as long.
const SILENT_MAX: Duration = Duration::from_secs(30);

/// A database of PostgreSQL, and how it is reached. Its `Debug` shows no password.
#[derive(Clone)]
pub struct PostgresPlace {
    config: Box<postgres::Config>,
    tls: Option<Arc<rustls::ClientConfig>>,
    shown: String,
}

impl std::fmt::Debug for PostgresPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PostgresPlace").field(&self.shown).finish()
    }
}

impl std::fmt::Display for PostgresPlace {
    /// The connection string without its parameters.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

impl PostgresPlace {
    /// Whether a text is a connection string, and not the name of a file.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("postgresql://") || text.starts_with("postgres://")
    }

    /// Reads a connection string. Besides PostgreSQL's own parameters: `sslmode` (`verify-full`, the
    /// default over a network, or `disable`), `sslrootcert` (a file of certificates in PEM that the
    /// server's must lead to; needed for `verify-full`) and `passfile` (a password file in
    /// PostgreSQL's form, in place of `password_file`, which need not be there).
    ///
    /// Errors: `Invalid` for a string that contradicts itself or holds a password; those of reading
    /// the files; `Denied` for a password file that others may read.
    pub fn parse(text: &str, password_file: &Path) -> Result<Self, CatalogError> {
        let (shown, parameters) = text.split_once('?').unwrap_or((text, ""));
        let mut theirs = Vec::new();
        let (mut mode, mut roots, mut passfile) = (None, None, None);
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => mode = Some(decoded(value)?),
                Some(("sslrootcert", value)) => roots = Some(PathBuf::from(decoded(value)?)),
                Some(("passfile", value)) => passfile = Some(PathBuf::from(decoded(value)?)),
                _ => theirs.push(parameter),
            }
        }
        let plain = format!("{shown}?{}", theirs.join("&"));
        let mut config: postgres::Config = plain.parse().map_err(|error: postgres::Error| {
            invalid(format!("it cannot be read: {}", SqlError::from(error)))
        })?;
        if config.get_password().is_some() {
            return Err(invalid(
                "it holds a password, which others could read there: put it in a password file",
            ));
        }
        let (Some(_), Some(_)) = (config.get_user(), config.get_dbname()) else {
            return Err(invalid(
                "it must name a user and a database, as postgresql://USER@HOST/DATABASE",
            ));
        };
        if config.get_hosts().is_empty() {
            return Err(invalid(
                "it must name a host, or the folder of a socket with ?host=/FOLDER",
            ));
        }
        let network = config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(_)));
        let tls = tls_of(network, mode.as_deref(), roots.as_deref())?.map(Arc::new);
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config
            .tcp_user_timeout(SILENT_MAX)
            .keepalives_idle(SILENT_MAX / 2)
            .keepalives_interval(SILENT_MAX / 6)
            .keepalives_retries(3)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        let password = match &passfile {
            Some(file) => password::find(file, &config)?,
            None if password_file.exists() => password::find(password_file, &config)?,
            None => None,
        };
        if let Some(password) = password {
            config.password(password);
        }
        Ok(Self { config: Box::new(config), tls, shown: shown.to_owned() })
    }

    pub(crate) fn is_made(&self) -> Result<bool, CatalogError> {
        let wire = connections::connect(self, "simsim looks")?;
        Ok(fence::last(&Session::Postgres(&wire))?.is_some())
    }

    /// Connects, under a name that the server shows of the session.
    pub(super) fn connect(&self, name: &str) -> Result<Wire, SqlError> {
        let mut config = self.config.clone();
        config.application_name(name);
        let client = match &self.tls {
            Some(tls) => config.connect(MakeRustlsConnect::new(tls.as_ref().clone()))?,
            None => config.connect(postgres::NoTls)?,
        };
        let wire = Wire::new(client);
        wire.batch(SESSION)?;
        Ok(wire)
    }
}

/// What holds for each session. The server ends one whose host is silent, so that a lock does not
/// outlive a host that lost its power. An acknowledged write is durable, also where the database was
/// told otherwise; who set it higher keeps it.
const SESSION: &str = "
    SET client_min_messages = warning;
    SET standard_conforming_strings = on;
    SET lock_timeout = '30s';
    SET statement_timeout = 0;
    SET idle_in_transaction_session_timeout = 0;
    SET tcp_keepalives_idle = 15;
    SET tcp_keepalives_interval = 5;
    SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = 30000;
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') IN ('off', 'local')";

fn tls_of(
    network: bool,
    mode: Option<&str>,
    roots: Option<&Path>,
) -> Result<Option<rustls::ClientConfig>, CatalogError> {
    match mode {
        Some("disable") => Ok(None),
        Some("verify-full") | None if network => {
            let Some(roots) = roots else {
                return Err(invalid(
                    "over a network it needs sslrootcert=FILE, the certificates that the server's must lead to; on one's own wire sslmode=disable does without TLS",
                ));
            };
            Ok(Some(trusting(roots)?))
        }
        None => Ok(None),
        Some("verify-full") => {
            Err(invalid("a socket of this host has no TLS: leave sslmode out, or name a host"))
        }
        Some(mode @ ("allow" | "prefer" | "require" | "verify-ca")) => Err(invalid(format!(
            "sslmode={mode} would believe a server that is not the one you named: use verify-full"
        ))),
        Some(other) => {
            Err(invalid(format!("sslmode={other} is not known: verify-full or disable")))
        }
    }
}

fn trusting(file: &Path) -> Result<rustls::ClientConfig, CatalogError> {
    let failed = |what: String| invalid(format!("sslrootcert {}: {what}", file.display()));
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(file).map_err(|error| failed(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("it holds no certificate in PEM".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// The text of a parameter, in which `%2F` stands for a slash.
fn decoded(value: &str) -> Result<String, CatalogError> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next().unwrap_or(0), rest.next().unwrap_or(0)];
        let byte =
            std::str::from_utf8(&digits).ok().and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(byte.ok_or_else(|| invalid(format!("'{value}' holds a % without two digits")))?);
    }
    String::from_utf8(bytes).map_err(|_| invalid(format!("'{value}' is not UTF-8")))
}

fn invalid(what: impl std::fmt::Display) -> CatalogError {
    CatalogError::invalid(format!("the connection string of the catalog: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PostgresPlace, String> {
        PostgresPlace::parse(text, Path::new("/nonexistent")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_shown_has_no_parameters() {
        let place =
            parse("postgresql://simsim@/catalog?host=/run/postgresql&sslmode=disable").unwrap();
        assert_eq!(place.to_string(), "postgresql://simsim@/catalog");
        assert_eq!(format!("{place:?}"), "PostgresPlace(\"postgresql://simsim@/catalog\")");
    }

    #[test]
    fn a_password_in_the_string_is_refused_wherever_it_stands() {
        for text in [
            "postgresql://simsim:secret@db.example/catalog?sslmode=disable",
            "postgresql://simsim@db.example/catalog?sslmode=disable&password=secret",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("password file"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn over_a_network_only_a_server_that_proves_its_name_or_a_word_against_tls() {
        let at = |rest: &str| parse(&format!("postgresql://simsim@db.example/catalog{rest}"));
        assert!(at("").unwrap_err().contains("sslrootcert"));
        assert!(at("?sslmode=verify-full").unwrap_err().contains("sslrootcert"));
        for mode in ["allow", "prefer", "require", "verify-ca"] {
            assert!(at(&format!("?sslmode={mode}")).unwrap_err().contains("verify-full"), "{mode}");
        }
        assert!(at("?sslmode=splendid").unwrap_err().contains("not known"));
        assert!(at("?sslrootcert=%2Fnonexistent").unwrap_err().contains("/nonexistent"));
        at("?sslmode=disable").unwrap();
        let socket = "postgresql://simsim@/catalog?host=/run/postgresql";
        parse(socket).unwrap();
        assert!(parse(&format!("{socket}&sslmode=verify-full")).unwrap_err().contains("socket"));
    }

    #[test]
    fn user_database_and_host_must_be_named() {
        for text in [
            "postgresql://db.example/catalog",
            "postgresql://a@/c",
            "postgresql://a@db.example?sslmode=disable",
        ] {
            assert!(parse(text).unwrap_err().contains("must name"), "{text}");
        }
        assert!(
            parse("postgresql://a@h/c?sslmode=disable&nonsense=1")
                .unwrap_err()
                .contains("cannot be read")
        );
        assert!(parse("postgresql://a@h/c?passfile=%2").unwrap_err().contains("two digits"));
    }
}
