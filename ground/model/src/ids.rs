//! Identities: random 128-bit ids of stores, domains, savesets and transfers; 256-bit chunk names.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;

/// A text that is not the hexadecimal form of an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {noun}: expected {digits} hexadecimal digits")]
pub struct ParseIdError {
    text: String,
    noun: &'static str,
    digits: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $type:ident, $bytes:literal, $noun:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub [u8; $bytes]);

        impl $type {
            /// Length in bytes, on disk and on the wire.
            pub const BYTES: usize = $bytes;
            /// The all-zero value: "none" where a format has a fixed field.
            pub const ZERO: Self = Self([0; $bytes]);

            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// Reads an id from a slice of exactly [`Self::BYTES`] bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                <[u8; $bytes]>::try_from(bytes).ok().map(Self)
            }

            pub fn is_zero(&self) -> bool {
                self.0 == [0; $bytes]
            }

            /// The first eight hexadecimal digits, for people.
            pub fn short(&self) -> String {
                HEXLOWER.encode(&self.0[..4])
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self.short())
            }
        }

        impl FromStr for $type {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                HEXLOWER
                    .decode(text.to_ascii_lowercase().as_bytes())
                    .ok()
                    .and_then(|bytes| Self::from_slice(&bytes))
                    .ok_or_else(|| ParseIdError {
                        text: text.to_owned(),
                        noun: $noun,
                        digits: $bytes * 2,
                    })
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let digits = $bytes * 2;
                schemars::json_schema!({
                    "type": "string",
                    "pattern": format!("^[0-9A-Fa-f]{{{digits}}}$"),
                })
            }
        }

        impl<C> minicbor::Encode<C> for $type {
            fn encode<W: minicbor::encode::Write>(
                &self,
                encoder: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                encoder.bytes(&self.0)?;
                Ok(())
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $type {
            fn decode(
                decoder: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                let bytes = decoder.bytes()?;
                Self::from_slice(bytes)
                    .ok_or_else(|| minicbor::decode::Error::message(concat!("wrong length of a ", $noun)))
            }
        }
    };
}

id!(
    /// A datastore, for as long as it lives; copies of its files keep it.
    StoreId, 16, "datastore id"
);
id!(
    /// A dedup domain: one datastore and one owner. Chunks are known only inside their domain.
    DomainId, 16, "domain id"
);
id!(
    /// A saveset: the result of one backup.
    SavesetId, 16, "saveset id"
);
id!(
    /// One transfer between a client and a device, as named by its ticket.
    TransferId, 16, "transfer id"
);
id!(
    /// The name of a chunk or node: keyed BLAKE3 of its plaintext, never truncated
    /// (`docs/format/names.md`). Also used for the unkeyed BLAKE3 names of segments and packs.
    Name, 32, "name"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_rejects_other_lengths() {
        let id = StoreId([0xab; 16]);
        assert_eq!(id.to_string().parse::<StoreId>(), Ok(id));
        assert!("abcd".parse::<StoreId>().is_err());
        assert!("zz".repeat(16).parse::<StoreId>().is_err());
    }
}
