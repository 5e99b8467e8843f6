//! The limits that every listener and decoder holds. Settings may lower one, never raise it.
//! Source: the suite's security design; each limit has a test that goes one past it.

/// Connections that have not proved who they are, per address.
pub const UNAUTHENTICATED_CONNECTIONS_PER_ADDRESS_MAX: usize = 8;
/// Connections that have not proved who they are, all addresses together.
pub const UNAUTHENTICATED_CONNECTIONS_MAX: usize = 256;
/// Time for a handshake, from accept to proof of identity.
pub const HANDSHAKE_TIMEOUT_MS: u64 = 10_000;
/// A connection without traffic is closed after this time; keep-alives hold it open.
pub const IDLE_TIMEOUT_MS: u64 = 60_000;
/// Interval of keep-alives and heartbeats, well below firewalls' idle timers.
pub const HEARTBEAT_INTERVAL_MS: u64 = 8_000;
/// A peer that has not answered for this long counts as dead, and the job says so.
pub const DEAD_PEER_MS: u64 = 30_000;
/// A call to a datastore's storage that has not come back for this long is given up on: longer than
/// the flush of a pack takes on a slow disk that others keep busy, and as long as the kernel waits
/// before it calls a task hung.
pub const STORAGE_ANSWER_MS_MAX: u64 = 120_000;
/// Head of one HTTP request or response.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header fields of one HTTP request or response.
pub const HTTP_FIELDS_MAX: usize = 64;
/// One sealed frame on a data channel, header and tag included.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// One control message.
pub const CONTROL_MESSAGE_BYTES_MAX: usize = 1 << 20;
/// One line of a textual control protocol.
pub const CONTROL_LINE_BYTES_MAX: usize = 4096;
/// Plaintext of one chunk.
pub const CHUNK_BYTES_MAX: usize = 8 << 20;
/// Plaintext of one segment: checked before decompression, and output stops there.
pub const SEGMENT_PLAIN_BYTES_MAX: usize = 16 << 20;
/// One segment as stored and sent: header, table and sealed payload.
pub const SEGMENT_BYTES_MAX: usize = 20 << 20;
/// Items (chunks or nodes) in one segment.
pub const SEGMENT_ITEMS_MAX: usize = 65_536;
/// Names in one `has` or `locate` request.
pub const NAMES_PER_REQUEST_MAX: usize = 16_384;
/// Segments in one `get` request.
pub const PLACES_PER_REQUEST_MAX: usize = 256;
/// One manifest.
pub const MANIFEST_BYTES_MAX: usize = 1 << 20;
/// One component of a path.
pub const PATH_COMPONENT_BYTES_MAX: usize = 255;
/// One path, from the root of a saveset.
pub const PATH_BYTES_MAX: usize = 32 * 1024;
/// What is told of bytes or files at most, however many more sparse files say that they have: the
/// largest number that a database keeps.
pub const BYTES_TOLD_MAX: u64 = i64::MAX as u64;
/// Depth of a directory tree.
pub const PATH_DEPTH_MAX: usize = 2048;
/// One extended attribute's value.
pub const XATTR_VALUE_BYTES_MAX: usize = 64 * 1024;
/// All extended attributes of one file.
pub const XATTRS_BYTES_MAX: usize = 1 << 20;
/// Target of a symbolic link.
pub const SYMLINK_BYTES_MAX: usize = 4096;
/// One JSON document from outside.
pub const JSON_BYTES_MAX: usize = 1 << 20;
/// A form of a page on the console port.
pub const FORM_BYTES_MAX: usize = 64 << 10;
/// Nesting of a JSON document from outside.
pub const JSON_DEPTH_MAX: usize = 32;
/// Memory that one connection may hold.
pub const CONNECTION_MEMORY_BYTES_MAX: usize = 32 << 20;
