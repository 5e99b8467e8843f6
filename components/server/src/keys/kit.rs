//! The recovery kit as the Server remembers it: sealed, so that keys of domains to come are wrapped
//! for it too. No verb answers it again; a kit that was mislaid is replaced by a new one.
//!
//! That it was really kept is proven by typing some of its groups ([`KitProof`]).

use simsim_format::{KitProof, RecoveryKit, WrappingKey};
use zeroize::Zeroizing;

use crate::ServerError;
use crate::books::Books;

const SETTING: &str = "recovery.kit";
const SETTING_PROOF: &str = "recovery.kit.proof";
/// The kit before, as long as only it opens backups of the server that are there.
const SETTING_BEFORE: &str = "recovery.kit.before";
const PURPOSE: &[u8] = b"simsim catalog recovery kit v1";

/// Seals, remembers and checks the kit.
pub(crate) struct KitStore {
    master: WrappingKey,
}

impl KitStore {
    pub(crate) fn new(master: WrappingKey) -> Self {
        Self { master }
    }

    /// Remembers a new kit in place of the one before. Where that is `needed`, for backups of the server that only it
    /// opens, it stays beside the new one until [`Self::forget_before`]: of several the first, since nothing was backed up
    /// for the others that somebody kept. Answers the groups (from 1) to be typed as proof.
    pub(crate) async fn replace(
        &self,
        books: &Books,
        kit: &RecoveryKit,
        needed: bool,
    ) -> Result<Vec<usize>, ServerError> {
        let text = Zeroizing::new(kit.groups().join("-"));
        let sealed = self.master.seal(PURPOSE, text.as_bytes())?;
        let proof = KitProof::ask(kit)?;
        let (asked, question) = (proof.asked().to_vec(), proof.text().into_bytes());
        books
            .run(move |catalog| {
                let before = catalog.setting(SETTING)?;
                if !needed {
                    catalog.remove_setting(SETTING_BEFORE)?;
                } else if let Some(before) = before
                    && catalog.setting(SETTING_BEFORE)?.is_none()
                {
                    catalog.set_setting(SETTING_BEFORE, &before)?;
                }
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

    /// The keys that wrap domain keys: of the kit, and of the one before as long as that is needed. The kit's comes first.
    pub(crate) async fn wrapping_keys(
        &self,
        books: &Books,
    ) -> Result<Vec<WrappingKey>, ServerError> {
        let mut keys = Vec::new();
        for setting in [SETTING, SETTING_BEFORE] {
            keys.extend(self.kept(books, setting).await?.map(|kit| kit.wrapping_key()));
        }
        Ok(keys)
    }

    /// Forgets the kit before.
    pub(crate) async fn forget_before(&self, books: &Books) -> Result<(), ServerError> {
        books.run(|catalog| catalog.remove_setting(SETTING_BEFORE)).await
    }

    /// How the proof stands; `None` without a kit.
    pub(crate) async fn proof(&self, books: &Books) -> Result<Option<KitProof>, ServerError> {
        let kept = books
            .run(|catalog| {
                Ok((catalog.setting(SETTING)?.is_some(), catalog.setting(SETTING_PROOF)?))
            })
            .await?;
        let (true, Some(text)) = kept else { return Ok(None) };
        let proof = std::str::from_utf8(&text).ok().and_then(KitProof::parse);
        proof.map(Some).ok_or_else(|| {
            ServerError::Key(
                "how the proof of the recovery kit stands cannot be read; make a new kit: simsim key kit new"
                    .to_owned(),
            )
        })
    }

    /// Checks the typed groups against the kit, and keeps how the proof stands then.
    pub(crate) async fn prove(
        &self,
        books: &Books,
        typed: &[String],
        now_unix_ms: i64,
    ) -> Result<KitProof, ServerError> {
        let none = || ServerError::not_found("recovery kit", "of this server");
        let kit = self.kit(books).await?.ok_or_else(none)?;
        let proof = self.proof(books).await?.ok_or_else(none)?;
        if proof.asked().is_empty() {
            return Err(ServerError::invalid(
                "that this kit was kept is proven already; make a new kit to prove anew",
            ));
        }
        let proof = proof.answer(&kit, typed, now_unix_ms)?;
        let text = proof.text();
        books.run(move |catalog| catalog.set_setting(SETTING_PROOF, text.as_bytes())).await?;
        Ok(proof)
    }

    async fn kit(&self, books: &Books) -> Result<Option<RecoveryKit>, ServerError> {
        self.kept(books, SETTING).await
    }

    async fn kept(
        &self,
        books: &Books,
        setting: &'static str,
    ) -> Result<Option<RecoveryKit>, ServerError> {
        let Some(sealed) = books.run(move |catalog| catalog.setting(setting)).await? else {
            return Ok(None);
        };
        let plain = Zeroizing::new(self.master.open(PURPOSE, &sealed)?);
        let text = std::str::from_utf8(&plain)
            .map_err(|_| ServerError::Key("the kept recovery kit is no text".to_owned()))?;
        Ok(Some(RecoveryKit::parse(text)?))
    }
}

#[cfg(test)]
mod tests {
    use simsim_catalog::{Catalog, CatalogOptions, CatalogPlace};
    use simsim_model::Secret;

    use super::*;

    fn books(folder: &std::path::Path) -> Books {
        let options = CatalogOptions {
            place: CatalogPlace::File(folder.join("catalog.db")),
            audit_key: [0; 32],
            now_unix_ms: 1,
        };
        Books::new(Catalog::open(&options).unwrap())
    }

    #[tokio::test]
    async fn a_kit_is_remembered_with_how_its_proof_stands_and_opens_with_this_master_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let books = books(folder.path());
        let store = KitStore::new(WrappingKey::new(&Secret([1; 32])));
        assert_eq!(store.proof(&books).await.unwrap(), None);
        assert!(store.wrapping_key(&books).await.unwrap().is_none());

        let kit = RecoveryKit::generate().unwrap();
        let asked = store.replace(&books, &kit, true).await.unwrap();
        assert_eq!(store.proof(&books).await.unwrap(), Some(KitProof::Open { asked }));
        assert!(store.wrapping_key(&books).await.unwrap().unwrap() == kit.wrapping_key());

        let wrong = vec!["AAAAAA".to_owned(); 2];
        let proof = store.prove(&books, &wrong, 5).await.unwrap();
        assert_eq!(store.proof(&books).await.unwrap(), Some(proof.clone()));
        let groups = kit.groups();
        let right: Vec<_> = proof.asked().iter().map(|at| groups[at - 1].clone()).collect();
        let proven = KitProof::Proven { unix_ms: 7 };
        assert_eq!(store.prove(&books, &right, 7).await.unwrap(), proven);
        assert_eq!(store.proof(&books).await.unwrap(), Some(proven));
        assert_eq!(
            store.prove(&books, &right, 8).await.unwrap_err().kind(),
            simsim_model::Kind::Invalid
        );

        let other = KitStore::new(WrappingKey::new(&Secret([2; 32])));
        assert!(other.wrapping_key(&books).await.is_err(), "another master key opens nothing");
    }
}
