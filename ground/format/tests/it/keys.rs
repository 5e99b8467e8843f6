//! Key slots and the recovery kit.

use simsim_format::{KeySlots, RecoveryKit, WrappingKey};
use simsim_model::Secret;

use crate::sample;

#[test]
fn slots_open_for_their_keys_only_and_damage_is_noticed() {
    let (one, two) = (WrappingKey::new(&Secret([1; 32])), WrappingKey::new(&Secret([2; 32])));
    let domain_key = Secret([3; 32]);
    let mut slots = KeySlots::new(sample::domain());
    slots.add(&one, &domain_key).unwrap();
    slots.add(&one, &domain_key).unwrap();
    assert_eq!(slots.slots.len(), 1);
    let bytes = slots.encode();
    let read = KeySlots::decode(&bytes).unwrap();
    assert!(read.open(&one).unwrap() == domain_key);
    assert!(read.open(&two).is_err());
    assert!(!bytes.windows(32).any(|window| window == domain_key.0));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(KeySlots::decode(&damaged).is_err());
    }
}

#[test]
fn a_recovery_kit_reads_back_as_typed_and_names_a_wrong_group() {
    let kit = RecoveryKit::generate().unwrap();
    let groups = kit.groups();
    assert_eq!(groups.len(), 11);
    let typed = groups.join(" - ").to_lowercase();
    assert!(RecoveryKit::parse(&typed).unwrap() == kit);
    let mut wrong = groups.clone();
    let first = if wrong[3].starts_with('A') { "B" } else { "A" };
    wrong[3].replace_range(0..1, first);
    assert!(RecoveryKit::parse(&wrong.join("-")).is_err());
    let mut swapped = groups.clone();
    swapped.swap(1, 2);
    assert!(groups[1] == groups[2] || RecoveryKit::parse(&swapped.join("-")).is_err());
    assert!(RecoveryKit::parse(&groups[..10].join("-")).is_err());
}
