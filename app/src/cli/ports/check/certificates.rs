//! What strangers' tools are shown: certificates, when they run out, and who renews them.

use simsim_net::tls::{TlsIdentity, Validity};
use simsim_server::api::HostCheck;

use super::{Findings, Grade};
use crate::cli::words::when;
use crate::state::State;

/// A certificate that is good for less than this should have been renewed.
const CERTIFICATE_WARN_S: i64 = 14 * 86_400;

const RENEWED: &str = "the server renews it when it reaches this host: 'simsim client list' on the server \
                       says whether it does, and why not";
const YOURS: &str =
    "the pair is yours, and renewed by you: put it into tls.key and tls.crt and restart";
const NOT_GIVEN: &str = "for such tools: on the server, 'simsim interface set HOST https://NAME', with the name \
                         that they use";

/// That of the console.
pub(super) fn console_certificate(found: &mut Findings, state: &State) {
    let what = state.file("console.crt").display().to_string();
    if !state.file("console.crt").exists() || !state.file("console.key").exists() {
        let message = "the console's is not made yet: the first start makes it".to_owned();
        found.add("certificate", what, Grade::Good, message);
        return;
    }
    match simsim_console::TlsIdentity::open(state.folder(), Vec::new()) {
        Ok(_) => {
            let message = "the console's certificate and its key belong together".to_owned();
            found.add("certificate", what, Grade::Good, message);
        }
        Err(error) => {
            found.add("certificate", what, Grade::Bad, error.to_string());
            found.next("put the right pair there, or remove both: the next start makes a new one");
        }
    }
}

/// The certificate that strangers' tools see at the data ports: hosts of the suite look at the key.
pub(super) fn data_certificate(found: &mut Findings, state: &State, now_unix_s: i64) {
    let file = state.file("tls.crt");
    let what = file.display().to_string();
    let validity = match std::fs::read(&file) {
        Ok(pem) => Validity::of_pem(&pem).map_err(|error| error.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = "for data with TLS none is made yet: the first start makes it".to_owned();
            found.add("certificate", what, Grade::Good, message);
            return;
        }
        Err(error) => Err(error.to_string()),
    };
    match validity {
        Ok(validity) => {
            let (grade, message, next) =
                how_long(validity, TlsIdentity::is_made_here(state.folder()), now_unix_s);
            found.add("certificate", what, grade, message);
            if let Some(next) = next {
                found.next(next);
            }
        }
        Err(why) => {
            found.add("certificate", what, Grade::Bad, why);
            found.next("put the right pair there, or remove both: the next start makes a new one");
        }
    }
}

/// What is to be said of a certificate at a moment, and what is to be done. `ours`: the suite made its
/// key, and looks after it.
fn how_long(
    validity: Validity,
    ours: bool,
    now_unix_s: i64,
) -> (Grade, String, Option<&'static str>) {
    let day = |unix_s: i64| when(unix_s.saturating_mul(1000));
    let left = validity.not_after_unix_s.saturating_sub(now_unix_s);
    if ours && validity.self_signed {
        let message =
            "for data with TLS: this host vouches for itself; other people's tools refuse it";
        return (Grade::Good, message.to_owned(), Some(NOT_GIVEN));
    }
    if now_unix_s < validity.not_before_unix_s {
        let from = day(validity.not_before_unix_s);
        let message = format!("for data with TLS: good from {from} only; is the clock right?");
        return (Grade::Bad, message, None);
    }
    let next = Some(if ours { RENEWED } else { YOURS });
    let (until, days) = (day(validity.not_after_unix_s), left / 86_400);
    match left {
        ..0 => {
            let message =
                format!("for data with TLS: it ran out on {until}; other people's tools refuse it");
            (Grade::Bad, message, next)
        }
        0..CERTIFICATE_WARN_S => {
            let message = format!("for data with TLS: it runs out in {days} days, on {until}");
            (Grade::Warning, message, next)
        }
        _ => {
            let whose =
                if ours { "; the server renews it when 30 are left" } else { ", and yours" };
            let message = format!("for data with TLS: good for {days} days, until {until}{whose}");
            (Grade::Good, message, None)
        }
    }
}

/// That of another host, by what the server gave it last.
pub(super) fn given_certificate(found: &mut Findings, host: &HostCheck, now_unix_s: i64) {
    let Some(until_unix_ms) = host.certificate_until_unix_ms else { return };
    let left = (until_unix_ms / 1000).saturating_sub(now_unix_s);
    let (days, until) = (left / 86_400, when(until_unix_ms));
    let (grade, message) = match left {
        ..0 => (Grade::Bad, format!("for data with TLS: it ran out on {until}")),
        0..CERTIFICATE_WARN_S => {
            (Grade::Warning, format!("for data with TLS: it runs out in {days} days, on {until}"))
        }
        _ => (Grade::Good, format!("for data with TLS: good for {days} days, until {until}")),
    };
    found.add("certificate", host.name.as_str(), grade, message);
    if grade != Grade::Good {
        found.next("it is renewed when the server reaches this host");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_said_to_run_out_before_it_does() {
        let day = 86_400;
        let validity =
            Validity { not_before_unix_s: day, not_after_unix_s: 100 * day, self_signed: false };
        let grade = |now: i64| how_long(validity, true, now).0;
        assert_eq!(grade(0), Grade::Bad, "not yet");
        assert_eq!(grade(50 * day), Grade::Good);
        assert_eq!(grade(86 * day), Grade::Good, "14 days are left");
        assert_eq!(grade(86 * day + 1), Grade::Warning);
        assert_eq!(grade(100 * day), Grade::Warning);
        assert_eq!(grade(100 * day + 1), Grade::Bad);
        let (_, said, next) = how_long(validity, true, 90 * day);
        assert!(said.contains("in 10 days") && next == Some(RENEWED), "{said}");
        assert_eq!(how_long(validity, false, 90 * day).2, Some(YOURS));
        let own = Validity { self_signed: true, ..validity };
        assert_eq!(how_long(own, true, 200 * day).2, Some(NOT_GIVEN), "it never had another one");
        assert_eq!(how_long(own, false, 200 * day).0, Grade::Bad);
    }
}
