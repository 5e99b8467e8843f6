//! Changes that one person should not make alone: a user or token that may more than before.
//!
//! The one place that decides about them. Approvals exist for what deletes; changes of people do not go
//! through them yet, so what [`weigh`] finds is written into the audit log beside the change, and the
//! change is made.

use crate::rights::{Grant, Principal, Right};

/// Rights with which somebody can give others rights, or take data away from those whose it is.
const WEIGHTY: [Right; 6] = [
    Right::Administer,
    Right::People,
    Right::Keys,
    Right::RestoreToOther,
    Right::Delete,
    Right::Approve,
];

/// Why a second person should agree to a change of what somebody may; `None`: one is enough.
pub(crate) fn weigh(before: &[Grant], after: &[Grant]) -> Option<String> {
    let had = Principal::with_grants("", before.to_vec());
    let more = after.iter().filter(|grant| !had.covers(std::slice::from_ref(grant)));
    let mut weighty: Vec<&str> = Vec::new();
    for grant in more {
        if WEIGHTY.contains(&grant.right) && !weighty.contains(&grant.right.as_str()) {
            weighty.push(grant.right.as_str());
        }
    }
    (!weighty.is_empty()).then(|| format!("new rights: {}", weighty.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(right: Right, client: Option<&str>) -> Grant {
        Grant { right, client: client.map(str::to_owned) }
    }

    #[test]
    fn who_gets_more_weighs_and_who_gets_less_or_the_same_does_not() {
        let view = [grant(Right::View, None)];
        let one = [grant(Right::Administer, Some("web")), grant(Right::View, None)];
        let all = [grant(Right::Administer, None)];
        assert_eq!(weigh(&[], &view), None);
        assert_eq!(weigh(&view, &one).as_deref(), Some("new rights: administer"));
        assert!(weigh(&one, &all).is_some(), "wider than before");
        assert_eq!(weigh(&all, &one), None);
        assert_eq!(weigh(&all, &all), None);
    }
}
