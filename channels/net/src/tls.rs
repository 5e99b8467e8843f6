//! TLS 1.3 between hosts of the suite, and towards other people's tools.
//!
//! Every host has one TLS key, made there, which never leaves it. What a *stranger's* tool checks
//! is the certificate: from the suite's own authority, or from the administrator's. What hosts of
//! the suite check of each other is the key itself: the server learns its [`Pin`] over the control
//! channel and tells it to those who will dial that host, job by job. So a clock that is wrong or a
//! certificate that has run out stops no backup at night, and a host that was revoked is refused
//! at once. A key can be changed while everything runs; see [`TlsIdentity`].

mod accept;
mod authority;
mod connect;
mod digest;
mod error;
mod identity;
mod pair;
mod pair_files;
mod pin;
mod roots;
mod validity;

pub use accept::{Peers, TlsDoor};
pub use authority::{Authority, CertificateWish};
pub use connect::TlsConnect;
pub use digest::certificate_digest;
pub use error::TlsError;
pub use identity::{NextKey, TlsIdentity};
pub use pin::Pin;
pub use roots::{certificates, towards_others};
pub use validity::Validity;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The one crypto provider.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
