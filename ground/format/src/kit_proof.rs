//! Whether a recovery kit was really kept: its holder types two groups of it, chosen at random. A wrong
//! answer changes the question, so that guessing at one group leads nowhere.

use zeroize::Zeroizing;

use crate::key::random_bytes;
use crate::{FormatError, RecoveryKit};

/// Groups that a proof asks for.
const GROUPS_ASKED: usize = 2;

/// How the proof stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KitProof {
    /// These groups, numbered from 1 and in order, are asked for.
    Open {
        asked: Vec<usize>,
    },
    Proven {
        unix_ms: i64,
    },
}

impl KitProof {
    /// A new question about a kit.
    pub fn ask(kit: &RecoveryKit) -> Result<Self, FormatError> {
        let groups = kit.groups().len();
        let mut asked: Vec<usize> = Vec::new();
        while asked.len() < GROUPS_ASKED.min(groups) {
            let [byte] = random_bytes::<1>()?;
            let place = usize::from(byte) % groups + 1;
            if !asked.contains(&place) {
                asked.push(place);
            }
        }
        asked.sort_unstable();
        Ok(Self::Open { asked })
    }

    /// The groups that are asked for; none once it is proven.
    pub fn asked(&self) -> &[usize] {
        match self {
            KitProof::Open { asked } => asked,
            KitProof::Proven { .. } => &[],
        }
    }

    /// Holds typed groups against the kit: how the proof stands from now on. One that is proven
    /// stays so.
    pub fn answer(
        &self,
        kit: &RecoveryKit,
        typed: &[String],
        now_unix_ms: i64,
    ) -> Result<Self, FormatError> {
        let KitProof::Open { asked } = self else { return Ok(self.clone()) };
        let groups = Zeroizing::new(kit.groups());
        let right = typed.len() == asked.len()
            && !asked.is_empty()
            && asked.iter().zip(typed).all(|(place, typed)| {
                let typed = Zeroizing::new(typed.trim().to_ascii_uppercase());
                let group = place.checked_sub(1).and_then(|place| groups.get(place));
                group.is_some_and(|group| equal(group.as_bytes(), typed.as_bytes()))
            });
        if right { Ok(KitProof::Proven { unix_ms: now_unix_ms }) } else { Self::ask(kit) }
    }

    /// As it is kept: `ask 3 7` or `proven 1700000000000`.
    pub fn text(&self) -> String {
        match self {
            KitProof::Open { asked } => {
                let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
                format!("ask {}", asked.join(" "))
            }
            KitProof::Proven { unix_ms } => format!("proven {unix_ms}"),
        }
    }

    /// The inverse of [`KitProof::text`].
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(unix_ms) = text.strip_prefix("proven ") {
            return unix_ms.parse().ok().map(|unix_ms| KitProof::Proven { unix_ms });
        }
        let places = text.strip_prefix("ask ")?.split(' ').map(str::parse);
        let asked = places.collect::<Result<Vec<_>, _>>().ok()?;
        Some(KitProof::Open { asked })
    }
}

/// In a time that does not depend on where they differ.
fn equal(one: &[u8], other: &[u8]) -> bool {
    blake3::hash(one) == blake3::hash(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kit_is_proven_by_the_groups_that_are_asked_for_and_by_no_others() {
        let kit = RecoveryKit::generate().unwrap();
        let groups = kit.groups();
        let proof = KitProof::ask(&kit).unwrap();
        let asked = proof.asked().to_vec();
        assert_eq!((asked.len(), asked[0] < asked[1]), (2, true));
        assert_eq!(KitProof::parse(&proof.text()), Some(proof.clone()));
        let typed = |places: &[usize]| -> Vec<String> {
            places.iter().map(|place| groups[place - 1].to_lowercase()).collect()
        };
        let other: Vec<usize> = (1..=11).filter(|place| !asked.contains(place)).take(2).collect();
        let half = vec![typed(&asked)[0].clone(), "AAAAAA".to_owned()];
        for wrong in [typed(&other), half, typed(&asked[..1]), Vec::new()] {
            let after = proof.answer(&kit, &wrong, 5).unwrap();
            assert_eq!(after.asked().len(), 2, "still open: {wrong:?}");
        }
        let proven = proof.answer(&kit, &typed(&asked), 7).unwrap();
        assert_eq!(proven, KitProof::Proven { unix_ms: 7 });
        assert_eq!(KitProof::parse(&proven.text()), Some(proven.clone()));
        assert_eq!(proven.answer(&kit, &[], 9).unwrap(), proven, "it stays proven");
        for text in ["", "ask", "ask x", "proven", "proven x", "else"] {
            assert_eq!(KitProof::parse(text), None, "{text}");
        }
    }
}
