//! The recovery kit as the Server remembers it: sealed, so that keys of domains to come are wrapped
//! for it too. No verb answers it again; a kit that was mislaid is replaced by a new one.
//!
//! That it was really kept is proven by typing two of its groups, chosen at random.

use simsim_format::{RecoveryKit, WrappingKey, random_bytes};
use zeroize::Zeroizing;

use crate::ServerError;
use crate::books::Books;

const SETTING: &str = "recovery.kit";
const SETTING_PROOF: &str = "recovery.kit.proof";
const PURPOSE: &[u8] = b"simsim catalog recovery kit v1";
/// Groups that a proof asks for.
const GROUPS_ASKED: usize = 2;

/// Seals, remembers and checks the kit.
pub(crate) struct KitStore {
    master: WrappingKey,
}

/// What is known of the kit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KitCondition {
    None,
    /// Printed, and nobody has shown that it was kept.
    Unproven,
    Proven {
        unix_ms: i64,
    },
}

impl KitStore {
    pub(crate) fn new(master: WrappingKey) -> Self {
        Self { master }
    }

    /// Remembers a new kit in place of the one before. Answers the groups (from 1) to be typed
    /// as proof.
    pub(crate) async fn replace(
        &self,
        books: &Books,
        kit: &RecoveryKit,
    ) -> Result<Vec<usize>, ServerError> {
        let text = Zeroizing::new(kit.groups().join("-"));
        let sealed = self.master.seal(PURPOSE, text.as_bytes())?;
        let asked = choose(kit.groups().len())?;
        let question = format!("ask {}", words(&asked)).into_bytes();
        books
            .run(move |catalog| {
                catalog.set_setting(SETTING, &sealed)?;
                catalog.set_setting(SETTING_PROOF, &question)
            })
            .await?;
        Ok(asked)
    }

    /// The key that wraps domain keys for the kit.
    pub(crate) async fn wrapping_key(
        &self,
        books: &Books,
    ) -> Result<Option<WrappingKey>, ServerError> {
        Ok(self.kit(books).await?.map(|kit| kit.wrapping_key()))
    }

    /// The groups (from 1) to be typed, while the proof is open.
    pub(crate) async fn asked(&self, books: &Books) -> Result<Option<Vec<usize>>, ServerError> {
        let text = setting_text(books, SETTING_PROOF).await?;
        Ok(text
            .as_deref()
            .and_then(|text| text.strip_prefix("ask "))
            .map(|places| places.split(' ').filter_map(|place| place.parse().ok()).collect()))
    }

    /// Whether there is a kit, and whether its keeping was proven.
    pub(crate) async fn condition(&self, books: &Books) -> Result<KitCondition, ServerError> {
        let there = books.run(|catalog| catalog.setting(SETTING)).await?.is_some();
        let proof = setting_text(books, SETTING_PROOF).await?;
        let proven = proof
            .as_deref()
            .and_then(|text| text.strip_prefix("proven "))
            .and_then(|text| text.parse().ok());
        Ok(match (there, proven) {
            (false, _) => KitCondition::None,
            (true, None) => KitCondition::Unproven,
            (true, Some(unix_ms)) => KitCondition::Proven { unix_ms },
        })
    }

    /// Checks the typed groups against the kit. A wrong answer changes the question, so that
    /// guessing at one group leads nowhere.
    pub(crate) async fn prove(
        &self,
        books: &Books,
        typed: &[String],
        now_unix_ms: i64,
    ) -> Result<bool, ServerError> {
        let kit = self
            .kit(books)
            .await?
            .ok_or_else(|| ServerError::not_found("recovery kit", "of this server"))?;
        let asked = self.asked(books).await?.ok_or_else(|| {
            ServerError::invalid(
                "that this kit was kept is proven already; make a new kit to prove anew",
            )
        })?;
        let groups = Zeroizing::new(kit.groups());
        let right = typed.len() == asked.len()
            && asked.iter().zip(typed).all(|(place, typed)| {
                let typed = Zeroizing::new(typed.trim().to_ascii_uppercase());
                place
                    .checked_sub(1)
                    .and_then(|place| groups.get(place))
                    .is_some_and(|group| equal(group.as_bytes(), typed.as_bytes()))
            });
        let text = if right {
            format!("proven {now_unix_ms}")
        } else {
            format!("ask {}", words(&choose(groups.len())?))
        };
        books.run(move |catalog| catalog.set_setting(SETTING_PROOF, text.as_bytes())).await?;
        Ok(right)
    }

    async fn kit(&self, books: &Books) -> Result<Option<RecoveryKit>, ServerError> {
        let Some(sealed) = books.run(|catalog| catalog.setting(SETTING)).await? else {
            return Ok(None);
        };
        let plain = Zeroizing::new(self.master.open(PURPOSE, &sealed)?);
        let text = std::str::from_utf8(&plain)
            .map_err(|_| ServerError::Key("the kept recovery kit is no text".to_owned()))?;
        Ok(Some(RecoveryKit::parse(text)?))
    }
}

/// In a time that does not depend on where they differ.
fn equal(one: &[u8], other: &[u8]) -> bool {
    blake3::hash(one) == blake3::hash(other)
}

/// Different groups, in order.
fn choose(groups: usize) -> Result<Vec<usize>, ServerError> {
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < GROUPS_ASKED.min(groups) {
        let [byte] = random_bytes::<1>()?;
        let place = usize::from(byte) % groups + 1;
        if !chosen.contains(&place) {
            chosen.push(place);
        }
    }
    chosen.sort_unstable();
    Ok(chosen)
}

fn words(places: &[usize]) -> String {
    places.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

async fn setting_text(books: &Books, name: &'static str) -> Result<Option<String>, ServerError> {
    let bytes = books.run(move |catalog| catalog.setting(name)).await?;
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
}

#[cfg(test)]
mod tests {
    use simsim_catalog::{Catalog, CatalogOptions};
    use simsim_model::Secret;

    use super::*;

    fn books(folder: &std::path::Path) -> Books {
        let options =
            CatalogOptions { path: folder.join("catalog.db"), audit_key: [0; 32], now_unix_ms: 1 };
        Books::new(Catalog::open(&options).unwrap())
    }

    #[tokio::test]
    async fn a_kit_is_proven_by_the_groups_that_are_asked_for_and_by_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let books = books(folder.path());
        let store = KitStore::new(WrappingKey::new(&Secret([1; 32])));
        assert_eq!(store.condition(&books).await.unwrap(), KitCondition::None);
        assert!(store.wrapping_key(&books).await.unwrap().is_none());

        let kit = RecoveryKit::generate().unwrap();
        let asked = store.replace(&books, &kit).await.unwrap();
        assert_eq!((asked.len(), asked[0] < asked[1]), (2, true));
        assert_eq!(store.condition(&books).await.unwrap(), KitCondition::Unproven);
        assert!(store.wrapping_key(&books).await.unwrap().unwrap() == kit.wrapping_key());

        let groups = kit.groups();
        let wrong = vec![groups[asked[0] - 1].clone(), "AAAAAA".to_owned()];
        assert!(!store.prove(&books, &wrong, 5).await.unwrap());
        assert!(!store.prove(&books, &[], 5).await.unwrap());
        let asked = store.asked(&books).await.unwrap().unwrap();
        let right: Vec<_> = asked.iter().map(|at| groups[at - 1].to_lowercase()).collect();
        assert!(store.prove(&books, &right, 7).await.unwrap());
        assert_eq!(store.condition(&books).await.unwrap(), KitCondition::Proven { unix_ms: 7 });
        assert_eq!(
            store.prove(&books, &right, 8).await.unwrap_err().kind(),
            simsim_model::Kind::Invalid
        );

        let other = KitStore::new(WrappingKey::new(&Secret([2; 32])));
        assert!(other.wrapping_key(&books).await.is_err(), "another master key opens nothing");
    }
}
