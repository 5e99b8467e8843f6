//! Wrong log-ins of a user hold up the next ones, longer each time.

/// Wrong ones that hold up nothing: typing errors.
const FREE: u32 = 4;
const FIRST_MS: i64 = 2_000;
/// A user who is attacked for long still gets in at times; the local socket is never held up.
const LONGEST_MS: i64 = 15 * 60_000;

/// Until when no log-in of a user is looked at after so many wrong ones in a row.
pub(crate) fn locked_until(failed: u32, now_unix_ms: i64) -> Option<i64> {
    let doublings = failed.checked_sub(FREE + 1)?;
    let wait = FIRST_MS.checked_shl(doublings.min(20)).unwrap_or(LONGEST_MS).min(LONGEST_MS);
    Some(now_unix_ms.saturating_add(wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_from_the_fifth_wrong_log_in_to_a_quarter_of_an_hour() {
        let waits: Vec<_> = (1..=20).map(|failed| locked_until(failed, 0)).collect();
        assert_eq!(waits[..5], [None, None, None, None, Some(2_000)]);
        assert_eq!(waits[5..8], [Some(4_000), Some(8_000), Some(16_000)]);
        assert_eq!(waits[19], Some(LONGEST_MS));
        assert_eq!(locked_until(u32::MAX, i64::MAX), Some(i64::MAX));
    }
}
