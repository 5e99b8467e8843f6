use super::*;
use crate::tls::{Authority, CertificateWish, Peers, TlsConnect, TlsDoor, certificate_digest};

fn wish<'w>(key: &'w [u8], hosts: &'w [String]) -> CertificateWish<'w> {
    CertificateWish { name: "vault", hosts, public_key: key, now_unix_s: 1_800_000_000 }
}

#[test]
fn a_pair_is_made_once_and_takes_a_certificate_of_its_own_key_only() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["vault".to_owned()];
    let first = TlsIdentity::open(folder.path(), &names).unwrap();
    let again = TlsIdentity::open(folder.path(), &names).unwrap();
    assert_eq!(first.pin(), again.pin());
    let other = tempfile::tempdir().unwrap();
    let other = TlsIdentity::open(other.path(), &names).unwrap();
    assert_ne!(first.pin(), other.pin());

    let authority = Authority::create("main", 1_800_000_000).unwrap();
    let hosts = ["vault".to_owned(), "192.0.2.1".to_owned(), "2001:db8::1".to_owned()];
    let chain = authority.sign(&wish(&first.public_key().unwrap(), &hosts), None).unwrap();
    let before = first.chain();
    assert!(other.install(&chain).is_err(), "it is another key's");
    assert!(first.install("no certificate").is_err());
    assert_eq!(first.chain(), before);
    first.install(&chain).unwrap();
    assert_eq!(first.chain().len(), 2);
    assert_eq!(first.certificate_digest(), certificate_digest(&chain).unwrap());
    assert_ne!(first.certificate_digest(), other.certificate_digest());
    let again = TlsIdentity::open(folder.path(), &names).unwrap();
    assert_eq!((again.chain(), again.pin()), (first.chain(), first.pin()));
    assert!(authority.sign(&wish(&[4; 64], &hosts), None).is_err());
    assert!(authority.sign(&wish(&[3; 65], &hosts), None).is_err());
}

#[tokio::test]
async fn hosts_of_the_suite_do_not_mind_a_certificate_that_ran_out() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["vault".to_owned()];
    let host = TlsIdentity::open(folder.path(), &names).unwrap();
    // Ninety days from September 2001 on.
    let authority = Authority::create("main", 1_000_000_000).unwrap();
    let key = host.public_key().unwrap();
    let wish = CertificateWish {
        name: "vault",
        hosts: &names,
        public_key: &key,
        now_unix_s: 1_000_000_000,
    };
    host.install(&authority.sign(&wish, None).unwrap()).unwrap();
    let door = TlsDoor::new(&host, Peers::Anybody).unwrap();
    let dialler = TlsConnect::new(vec![host.pin()], None).unwrap();
    let (here, there) = tokio::io::duplex(1 << 16);
    let within = std::time::Duration::from_secs(60);
    let (greeted, welcomed) =
        tokio::join!(dialler.greet("vault:1", here), door.welcome(there, within));
    greeted.unwrap();
    welcomed.unwrap();
}

#[test]
fn a_pair_of_the_administrator_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = self_signed(&key, &["vault".to_owned()]).unwrap();
    std::fs::write(folder.path().join("tls.key"), key.serialize_pem()).unwrap();
    let alone = TlsIdentity::open(folder.path(), &[]).unwrap_err().to_string();
    assert!(alone.contains("tls.crt") || alone.contains("tls.key"), "{alone}");
    std::fs::write(folder.path().join("tls.crt"), certificate).unwrap();
    let identity = TlsIdentity::open(folder.path(), &[]).unwrap();
    assert_eq!(identity.public_key(), None, "nobody signs another one for it");
    for refused in
        [identity.prepare_key().err(), identity.switch_key(identity.pin(), None, true).err()]
    {
        assert!(refused.unwrap().to_string().contains("the administrator's"));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "tls.key and tls.crt");
}

/// A handshake at this host's door; `Err` says what the dialling side says.
async fn greets(door: &TlsDoor, dialler: &TlsConnect) -> Result<Option<Pin>, String> {
    let (here, there) = tokio::io::duplex(1 << 16);
    let within = std::time::Duration::from_secs(60);
    let (greeted, welcomed) =
        tokio::join!(dialler.greet("vault:1", here), door.welcome(there, within));
    let greeted = greeted?;
    assert!(greeted.get_ref().1.peer_certificates().is_some());
    welcomed.map(|(_, pin)| pin)
}

#[tokio::test]
async fn who_expects_the_old_key_is_shown_it_until_it_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let host = TlsIdentity::open(folder.path(), &["vault".to_owned()]).unwrap();
    let old = host.pin();
    let door = TlsDoor::new(&host, Peers::Anybody).unwrap();
    let expects = |pins: &[Pin]| TlsConnect::new(pins.to_vec(), None).unwrap();
    let before = expects(&[old]);
    greets(&door, &before).await.unwrap();

    let next = host.prepare_key().unwrap();
    assert_eq!(host.pin(), old, "nothing is changed yet");
    assert!(host.switch_key(old, None, false).is_ok(), "it is shown already");
    assert!(host.switch_key(Pin([7; 32]), None, false).is_err(), "nobody prepared it");
    host.switch_key(next.pin, None, false).unwrap();
    assert_eq!((host.pin(), host.public_key().unwrap()), (next.pin, next.public_key));
    greets(&door, &before).await.unwrap();
    greets(&door, &expects(&[next.pin])).await.unwrap();
    greets(&door, &expects(&[old, next.pin])).await.unwrap();
    let stranger = greets(&door, &expects(&[Pin([7; 32])])).await.unwrap_err();
    assert!(stranger.contains("another key"), "{stranger}");

    host.switch_key(next.pin, None, true).unwrap();
    let gone = greets(&door, &before).await.unwrap_err();
    assert!(gone.contains("another key"), "{gone}");
    greets(&door, &expects(&[old, next.pin])).await.unwrap();
    let again = TlsIdentity::open(folder.path(), &[]).unwrap();
    assert_eq!(again.pin(), next.pin);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "tls.key and tls.crt");
}

#[tokio::test]
async fn a_job_shows_the_key_with_which_it_began_or_that_the_other_side_knows() {
    let folder = tempfile::tempdir().unwrap();
    let device = TlsIdentity::open(&folder.path().join(""), &["vault".to_owned()]).unwrap();
    let far = tempfile::tempdir().unwrap();
    let client = TlsIdentity::open(far.path(), &["web".to_owned()]).unwrap();
    let anybody = Peers::Known(std::sync::Arc::new(|_: &Pin| true));
    let door = TlsDoor::new(&device, anybody).unwrap();
    let (old, pins) = (client.pin(), vec![device.pin()]);
    let begun = TlsConnect::new(pins.clone(), Some(&client)).unwrap();
    let next = client.prepare_key().unwrap();
    client.switch_key(next.pin, None, false).unwrap();
    assert_eq!(greets(&door, &begun).await.unwrap(), Some(old));
    let shows = async |known: &[Pin]| {
        let dialler = TlsConnect::known_by(pins.clone(), &client, known).unwrap();
        greets(&door, &dialler).await.unwrap()
    };
    assert_eq!(shows(&[]).await, Some(next.pin));
    assert_eq!(shows(&[old]).await, Some(old), "granted before, begun after");
    assert_eq!(shows(&[old, next.pin]).await, Some(next.pin));
    assert_eq!(shows(&[Pin([7; 32])]).await, Some(next.pin));
    client.switch_key(next.pin, None, true).unwrap();
    assert_eq!(shows(&[old]).await, Some(next.pin), "it was forgotten");
}

#[test]
fn what_an_administrator_put_there_meanwhile_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let host = TlsIdentity::open(folder.path(), &["vault".to_owned()]).unwrap();
    let next = host.prepare_key().unwrap();
    let authority = Authority::create("main", 1_800_000_000).unwrap();
    let hosts = ["vault".to_owned()];
    let chain = authority.sign(&wish(&host.public_key().unwrap(), &hosts), None).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = self_signed(&key, &hosts).unwrap();
    std::fs::write(folder.path().join("tls.key"), key.serialize_pem()).unwrap();
    std::fs::write(folder.path().join("tls.crt"), &certificate).unwrap();
    for refused in [
        host.install(&chain).err(),
        host.prepare_key().err(),
        host.switch_key(next.pin, None, false).err(),
    ] {
        let refused = refused.unwrap().to_string();
        assert!(refused.contains("by hand"), "{refused}");
    }
    let there = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!((there("tls.key"), there("tls.crt")), (key.serialize_pem(), certificate));
}
