//! The limits, figure by figure. Other tests use them by name, so that here alone a limit that was
//! changed is noticed: a higher one wants a decision, and the pages that name it.

use simsim_model::CutParameters;
use simsim_model::limits::*;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

#[test]
fn limits_are_those_of_the_security_design() {
    assert_eq!(UNAUTHENTICATED_CONNECTIONS_PER_ADDRESS_MAX, 8);
    assert_eq!(UNAUTHENTICATED_CONNECTIONS_MAX, 256);
    assert_eq!(HANDSHAKE_TIMEOUT_MS, 10_000);
    assert_eq!(IDLE_TIMEOUT_MS, 60_000);
    assert_eq!(HTTP_HEAD_BYTES_MAX, 16 * KIB);
    assert_eq!(HTTP_FIELDS_MAX, 64);
    assert_eq!(CONTROL_LINE_BYTES_MAX, 4 * KIB);
    assert_eq!(FRAME_BYTES_MAX, MIB);
    assert_eq!(CHUNK_BYTES_MAX, 8 * MIB);
    assert_eq!(PATH_COMPONENT_BYTES_MAX, 255);
    assert_eq!(PATH_BYTES_MAX, 32 * KIB);
    assert_eq!(PATH_DEPTH_MAX, 2_048);
    assert_eq!(XATTR_VALUE_BYTES_MAX, 64 * KIB);
    assert_eq!(XATTRS_BYTES_MAX, MIB);
    assert_eq!(JSON_BYTES_MAX, MIB);
    assert_eq!(JSON_DEPTH_MAX, 32);
    assert_eq!(CONNECTION_MEMORY_BYTES_MAX, 32 * MIB);
}

#[test]
fn further_limits_are_those_of_the_protocols_and_formats() {
    assert_eq!(HEARTBEAT_INTERVAL_MS, 8_000);
    assert_eq!(DEAD_PEER_MS, 30_000);
    assert_eq!(STORAGE_ANSWER_MS_MAX, 120_000);
    assert_eq!(CONTROL_MESSAGE_BYTES_MAX, MIB);
    assert_eq!(SEGMENT_PLAIN_BYTES_MAX, 16 * MIB);
    assert_eq!(SEGMENT_BYTES_MAX, 20 * MIB);
    assert_eq!(SEGMENT_ITEMS_MAX, 65_536);
    assert_eq!(NAMES_PER_REQUEST_MAX, 16_384);
    assert_eq!(PLACES_PER_REQUEST_MAX, 256);
    assert_eq!(MANIFEST_BYTES_MAX, MIB);
    assert_eq!(SYMLINK_BYTES_MAX, 4 * KIB);
}

#[test]
fn cuts_stay_below_the_limit_of_a_chunk() {
    let to = |max: usize| CutParameters { max: max as u32, ..CutParameters::default() };
    assert!(CutParameters::default().is_valid());
    assert!(to(CHUNK_BYTES_MAX).is_valid());
    assert!(!to(CHUNK_BYTES_MAX + 1).is_valid());
}
