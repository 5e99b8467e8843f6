//! Text and wire forms of ids and paths: nothing is lost, nothing else is taken.

use proptest::prelude::*;
use simsim_model::{Name, ParseIdError, SavesetId, Timestamp, escape_path, unescape_path};

proptest! {
    #[test]
    fn ids_round_trip_as_text_json_and_cbor(bytes in any::<[u8; 16]>(), long in any::<[u8; 32]>()) {
        let (id, name) = (SavesetId(bytes), Name(long));
        prop_assert_eq!(id.to_string().parse(), Ok(id));
        prop_assert_eq!(name.to_string().to_uppercase().parse(), Ok(name));
        let json = serde_json::to_string(&(id, name)).unwrap();
        prop_assert_eq!(serde_json::from_str::<(SavesetId, Name)>(&json).unwrap(), (id, name));
        let cbor = minicbor::to_vec((id, name)).unwrap();
        prop_assert_eq!(minicbor::decode::<(SavesetId, Name)>(&cbor).unwrap(), (id, name));
        prop_assert_eq!(SavesetId::from_slice(&bytes), Some(id));
        prop_assert_eq!(SavesetId::from_slice(&long), None);
    }

    #[test]
    fn ids_take_nothing_but_their_digits(text in ".*") {
        let parsed: Result<SavesetId, ParseIdError> = text.parse();
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        prop_assert_eq!(parsed.is_ok(), digits);
    }

    #[test]
    fn ids_take_no_bytes_of_another_length(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = minicbor::decode::<Name>(&bytes);
        let cbor = minicbor::to_vec(minicbor::bytes::ByteVec::from(bytes.clone())).unwrap();
        prop_assert_eq!(minicbor::decode::<Name>(&cbor).is_ok(), bytes.len() == Name::BYTES);
    }

    #[test]
    fn fid08_paths_round_trip_without_control_characters(
        path in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let text = escape_path(&path);
        prop_assert!(!text.chars().any(char::is_control));
        prop_assert_eq!(unescape_path(&text), Some(path));
    }

    #[test]
    fn fid08_utf8_paths_stay_readable(path in "[a-zäöüßé日本 /._-]{0,60}") {
        prop_assert_eq!(escape_path(path.as_bytes()), path);
    }

    #[test]
    fn fid08_any_text_unescapes_or_is_refused(text in "(.|\\\\x[0-9a-f]{2}|\\\\)*") {
        if let Some(path) = unescape_path(&text) {
            // What was taken means one path only: escaping it again names the same bytes.
            prop_assert_eq!(unescape_path(&escape_path(&path)), Some(path));
        }
    }

    #[test]
    fn timestamps_round_trip_as_nanoseconds(nanos in any::<i64>()) {
        let time = Timestamp::from_unix_nanos(nanos);
        prop_assert!(time.nanos <= Timestamp::NANOS_MAX);
        // One second before the earliest instant the multiplication saturates.
        if time.seconds > i64::MIN / 1_000_000_000 {
            prop_assert_eq!(time.unix_nanos(), nanos);
        }
    }
}

#[test]
fn fid08_a_sign_is_no_hexadecimal_digit() {
    for text in ["\\x+f", "\\x-1", "\\x 1", "\\x1", "\\x", "\\", "\\y00", "\\X41"] {
        assert_eq!(unescape_path(text), None, "{text}");
    }
    assert_eq!(unescape_path("a\\x2f\\xFF"), Some(b"a/\xff".to_vec()));
}
