//! Texts that people type or files carry, against changed valid ones.

use simsim_control::{Identity, JoinCode, PublicKey};
use simsim_testkit::fuzz;

#[test]
fn fuzz_join_codes_and_keys() {
    let key = Identity::generate().public();
    let code = JoinCode::from_secret([7; 16], &key).text().to_string();
    fuzz("join code", &[code.clone().into_bytes()], |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(parsed) = JoinCode::parse(&text) {
            // A code that is understood is written and understood again.
            let again = JoinCode::parse(&parsed.text()).unwrap();
            assert_eq!(again.secret(), parsed.secret());
        }
    });
    fuzz("public key", &[key.to_string().into_bytes()], |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(parsed) = text.parse::<PublicKey>() {
            assert_eq!(parsed.to_string().parse::<PublicKey>().unwrap(), parsed);
        }
    });
}
