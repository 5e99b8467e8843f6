//! The suite's certificate authority: made when it is needed first, kept in the catalog with its key
//! sealed, and replaced by another one when an administrator says so.
//!
//! A rotation is one step for the hosts and time for the tools of others. The new authority signs from
//! its first moment on; the old one signs the new key (a *cross certificate*) and its own key is then
//! forgotten. Until the *transition* ends, hosts show the cross certificate behind their own, so that
//! tools with either authority go on; the administrator brings the new one to the tools and ends the
//! transition, or a year does. For a key that was stolen there is no transition.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use simsim_net::tls::{Authority, CertificateWish, TlsError, certificate_digest};
use tokio::sync::RwLock;

use crate::ServerError;
use crate::clock::{lasting_ms, now_unix_ms};
use crate::house::House;

/// The authority: its name and certificate; since the first rotation also its key, sealed.
const AUTHORITY: &str = "tls.authority";
/// Its key, sealed, as earlier versions kept it. Never another one than the authority's.
const AUTHORITY_KEY: &str = "tls.authority.key";
const PURPOSE: &[u8] = b"simsim tls authority key v1";

/// A transition that nobody ends is over after a year: the cross certificate runs out.
const TRANSITION: Duration = Duration::from_secs(365 * 86_400);

#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    server: String,
    certificate: String,
    /// One row says all: a crash leaves the authority before or the one after, with its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed_key: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transition: Option<Transition>,
}

/// From one authority to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Transition {
    /// The certificate of the authority before, PEM. Its key exists no more.
    pub former: String,
    /// The key of the authority, signed by the one before: PEM.
    pub cross: String,
    pub begun_unix_ms: i64,
    pub ends_unix_ms: i64,
}

/// What signs now.
pub(crate) struct Signing {
    kept: Kept,
    authority: Authority,
}

impl Signing {
    /// What others must trust: PEM.
    pub(crate) fn certificate(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// The transition, unless it is over by itself.
    pub(crate) fn transition(&self) -> Option<&Transition> {
        let transition = self.kept.transition.as_ref();
        transition.filter(|transition| now_unix_ms() < transition.ends_unix_ms)
    }

    /// What stands behind a host's own certificate in place of the authority's.
    pub(crate) fn cross(&self) -> Option<&str> {
        self.transition().map(|transition| transition.cross.as_str())
    }

    /// The authorities whose certificates hosts may show now: PEM, the one that signs first.
    pub(crate) fn bundle(&self) -> String {
        let former = self.transition().map_or("", |transition| transition.former.as_str());
        format!("{}{former}", self.certificate())
    }

    /// A certificate of 90 days with what stands behind it: PEM.
    pub(crate) fn sign(&self, wish: &CertificateWish<'_>) -> Result<String, TlsError> {
        self.authority.sign(wish, self.cross())
    }
}

/// Has it at hand.
#[derive(Default)]
pub(crate) struct AuthorityKeeper(RwLock<Option<Arc<Signing>>>);

/// The authority that signs now; made when it is needed first.
pub(crate) async fn signing(house: &House) -> Result<Arc<Signing>, ServerError> {
    if let Some(signing) = house.authority.0.read().await.as_ref() {
        return Ok(Arc::clone(signing));
    }
    let mut keeper = house.authority.0.write().await;
    take_up(house, &mut keeper).await
}

/// Makes another authority, which signs from now on. `stolen`: nobody shall come from the old one to the
/// new one; else a transition begins.
///
/// Errors: a transition is under way, and `stolen` is not said.
pub(crate) async fn rotate(house: &House, stolen: bool) -> Result<(), ServerError> {
    let mut keeper = house.authority.0.write().await;
    let before = take_up(house, &mut keeper).await?;
    if let (Some(transition), false) = (before.transition(), stolen) {
        return Err(ServerError::Refused(format!(
            "a rotation of the authority is under way for {}: end it first with 'simsim interface \
             authority finish', or say --now, and tools need the new certificate at once",
            lasting_ms(now_unix_ms().saturating_sub(transition.begun_unix_ms))
        )));
    }
    let server = before.kept.server.clone();
    let (now_unix_ms, now_unix_s) = moment();
    let made = Authority::create(&server, now_unix_s).map_err(broken)?;
    let transition = match stolen {
        true => None,
        false => Some(Transition {
            former: before.certificate().to_owned(),
            cross: before
                .authority
                .vouch_for(&made, &server, now_unix_s, TRANSITION)
                .map_err(broken)?,
            begun_unix_ms: now_unix_ms,
            ends_unix_ms: now_unix_ms + i64::try_from(TRANSITION.as_millis()).unwrap_or(i64::MAX),
        }),
    };
    let sealed = house.master.seal(PURPOSE, made.key_pem().as_bytes())?;
    let kept = Kept {
        server,
        certificate: made.certificate_pem().to_owned(),
        sealed_key: Some(sealed),
        transition,
    };
    keep(house, &kept).await?;
    *keeper = Some(Arc::new(Signing { kept, authority: made }));
    tracing::warn!(stolen, "the suite has another certificate authority");
    Ok(())
}

/// Ends the transition: only the authority that signs counts from now on.
///
/// Errors: there is none.
pub(crate) async fn finish(house: &House) -> Result<(), ServerError> {
    let mut keeper = house.authority.0.write().await;
    let before = take_up(house, &mut keeper).await?;
    if before.kept.transition.is_none() {
        return Err(ServerError::Refused(
            "no rotation of the authority is under way: 'simsim interface authority rotate' begins one"
                .to_owned(),
        ));
    }
    let kept = Kept { transition: None, ..before.kept.clone() };
    keep(house, &kept).await?;
    *keeper = None;
    take_up(house, &mut keeper).await?;
    tracing::info!("the former certificate authority is given up");
    Ok(())
}

/// The fingerprint of a certificate as `openssl x509 -fingerprint -sha256` shows it.
pub(crate) fn fingerprint(pem: &str) -> Result<String, ServerError> {
    let digest = certificate_digest(pem).map_err(broken)?;
    Ok(digest.map(|byte| format!("{byte:02X}")).join(":"))
}

/// From the catalog; made where there is none.
async fn take_up(
    house: &House,
    keeper: &mut Option<Arc<Signing>>,
) -> Result<Arc<Signing>, ServerError> {
    if let Some(signing) = keeper {
        return Ok(Arc::clone(signing));
    }
    let signing = Arc::new(match load(house).await? {
        Some(signing) => signing,
        None => make(house).await?,
    });
    *keeper = Some(Arc::clone(&signing));
    Ok(signing)
}

async fn load(house: &House) -> Result<Option<Signing>, ServerError> {
    let (kept, beside) = house
        .books
        .run(|catalog| Ok((catalog.setting(AUTHORITY)?, catalog.setting(AUTHORITY_KEY)?)))
        .await?;
    let Some(kept) = kept else { return Ok(None) };
    let kept: Kept = serde_json::from_slice(&kept).map_err(broken)?;
    let Some(sealed) = kept.sealed_key.clone().or_else(|| beside.clone()) else { return Ok(None) };
    if beside.is_some_and(|beside| beside != sealed) {
        // A crash in the middle of a rotation: the key of the authority before goes now.
        let sealed = sealed.clone();
        house.books.run(move |catalog| catalog.set_setting(AUTHORITY_KEY, &sealed)).await?;
    }
    let key = house.master.open(PURPOSE, &sealed)?;
    let key = std::str::from_utf8(&key).map_err(broken)?;
    let authority = Authority::open(&kept.server, &kept.certificate, key).map_err(broken)?;
    Ok(Some(Signing { kept, authority }))
}

async fn make(house: &House) -> Result<Signing, ServerError> {
    let authority = Authority::create(&house.name, moment().1).map_err(broken)?;
    let kept = Kept {
        server: house.name.clone(),
        certificate: authority.certificate_pem().to_owned(),
        sealed_key: Some(house.master.seal(PURPOSE, authority.key_pem().as_bytes())?),
        transition: None,
    };
    keep(house, &kept).await?;
    tracing::info!("the suite's certificate authority is made");
    Ok(Signing { kept, authority })
}

async fn keep(house: &House, kept: &Kept) -> Result<(), ServerError> {
    let text = serde_json::to_vec(kept).map_err(broken)?;
    let sealed = kept.sealed_key.clone().unwrap_or_default();
    house
        .books
        .run(move |catalog| {
            catalog.set_setting(AUTHORITY, &text)?;
            simsim_model::failpoint::hit("server.authority_kept");
            catalog.set_setting(AUTHORITY_KEY, &sealed)
        })
        .await
}

/// Milliseconds and seconds since 1970.
fn moment() -> (i64, u64) {
    let now = now_unix_ms();
    (now, u64::try_from(now / 1000).unwrap_or(0))
}

fn broken(error: impl std::fmt::Display) -> ServerError {
    ServerError::Lost(format!("the certificate authority: {error}"))
}
