//! What both ends agree to: one modern choice each, so that there is nothing to downgrade to.

use std::borrow::Cow;

use russh::keys::Algorithm;
use russh::{Preferred, SshId, cipher, compression, kex, mac};

/// Key exchange: hybrid with ML-KEM-768 first, so that a recording of today stays sealed.
const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

pub(super) const PREFERRED: Preferred = Preferred {
    kex: Cow::Borrowed(KEX),
    key: Cow::Borrowed(&[Algorithm::Ed25519]),
    host_key_certificates: Cow::Borrowed(&[]),
    // Not among the modes that prefix truncation (CVE-2023-48795) works on, so a peer without
    // strict key exchange is safe as well.
    cipher: Cow::Borrowed(&[cipher::AES_256_GCM]),
    mac: Cow::Borrowed(&[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM]),
    compression: Cow::Borrowed(&[compression::NONE]),
};

/// Bytes of channel data in one SSH packet that we ask a peer to keep to. The library refuses any
/// packet above 256 KiB before it reads it.
pub(super) const PACKET_BYTES: u32 = 32 * 1024;
/// Bytes that a peer may send ahead of our reading.
pub(super) const WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Packets that may wait inside the library for one channel.
pub(super) const CHANNEL_PACKETS: usize = 16;

/// The version line. It names the suite and not its version: strangers learn nothing.
pub(super) fn ssh_id() -> SshId {
    SshId::Standard(Cow::Borrowed("SSH-2.0-simsim"))
}
