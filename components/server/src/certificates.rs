//! Certificates for the tools of others: the suite's authority signs one for each host's TLS key
//! when the host is reached, and another when a third of its life is left. In it stand names only that an
//! administrator gave the host. A host that is away keeps the one that it has; when it comes back it
//! gets a new one at once. Hosts of the suite know each other by their keys and do not look at
//! certificates.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use simsim_catalog::{Catalog, CatalogError, Client, ClientId, ClientState};
use simsim_control::verbs::{InstallCertificate, NodeState, PrepareTlsKey, SwitchTlsKey};
use simsim_model::interface::Interface;
use simsim_net::tls::{Authority, CertificateWish, TlsError, certificate_digest};

use crate::ServerError;
use crate::authority::{self, Signing};
use crate::clock::now_unix_ms;
use crate::house::House;
use crate::jobs::DEVICE_PATIENCE;

const DAY_MS: i64 = 86_400_000;
const LIFE_MS: i64 = Authority::CERTIFICATE_DAYS as i64 * DAY_MS;
/// A certificate of 90 days is renewed when a third of its life is left.
const RENEW_AFTER_MS: i64 = LIFE_MS / 3 * 2;
/// How often hosts that stay reached are looked at.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(3600);
/// One that should have been renewed for so long is worth a warning.
const OVERDUE_MS: i64 = 14 * 86_400_000;

/// What a host was given last.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    key: Vec<u8>,
    hosts: Vec<String>,
    authority: String,
    /// The cross certificate behind it, in a transition.
    #[serde(default)]
    cross: Option<String>,
    issued_unix_ms: i64,
    /// Of the certificate; the host says whether it still shows this one.
    #[serde(default)]
    digest: Vec<u8>,
}

impl Given {
    fn until_unix_ms(&self) -> i64 {
        self.issued_unix_ms.saturating_add(LIFE_MS)
    }

    /// The certificate that this says, with what stands behind it: PEM.
    fn sign(
        &mut self,
        client: &Client,
        public_key: &[u8],
        signing: &Signing,
    ) -> Result<String, ServerError> {
        let wish = CertificateWish {
            name: &client.name,
            hosts: &self.hosts,
            public_key,
            now_unix_s: u64::try_from(self.issued_unix_ms / 1000).unwrap_or(0),
        };
        let wrong =
            |error: TlsError| ServerError::node(&client.name, error.kind(), error.to_string());
        let chain = signing.sign(&wish).map_err(wrong)?;
        self.digest = certificate_digest(&chain).map_err(wrong)?.to_vec();
        Ok(chain)
    }

    async fn keep(&self, house: &House, id: ClientId) -> Result<(), ServerError> {
        let kept =
            serde_json::to_vec(self).map_err(|error| ServerError::Lost(error.to_string()))?;
        house.books.run(move |catalog| catalog.set_setting(&name_of(id), &kept)).await
    }
}

/// Hosts that still show a certificate of another authority than the one that signs, by name: they were
/// not reached since.
pub(crate) async fn behind(house: &House) -> Result<Vec<String>, ServerError> {
    let signing = authority::signing(house).await?;
    let of_all = |catalog: &Catalog| {
        let clients = catalog.clients()?.into_iter().filter(Client::is_enrolled);
        clients.map(|client| Ok((given(catalog, client.id)?, client.name))).collect()
    };
    let all: Vec<(Option<Given>, String)> = house.books.run(of_all).await?;
    let of_another = |given: &Given| given.authority != signing.certificate();
    let behind = all.into_iter().filter(|(given, _)| given.as_ref().is_some_and(of_another));
    Ok(behind.map(|(_, name)| name).collect())
}

async fn given_to(house: &House, id: ClientId) -> Result<Option<Given>, ServerError> {
    house.books.run(move |catalog| given(catalog, id)).await
}

fn given(catalog: &Catalog, id: ClientId) -> Result<Option<Given>, CatalogError> {
    let given = catalog.setting(&name_of(id))?;
    Ok(given.and_then(|given| serde_json::from_slice(&given).ok()))
}

fn name_of(id: ClientId) -> String {
    format!("tls.certificate.{}", id.0)
}

/// Until when the certificate is good that a host was given last; `None`: it was given none.
pub(crate) async fn good_until(house: &House, id: ClientId) -> Result<Option<i64>, ServerError> {
    Ok(given_to(house, id).await?.map(|given| given.until_unix_ms()))
}

/// What there is to say about a certificate that was not renewed in time: its host was away.
pub(crate) fn overdue(
    catalog: &Catalog,
    client: &Client,
    now_unix_ms: i64,
) -> Result<Option<String>, CatalogError> {
    let Some(given) = given(catalog, client.id)? else { return Ok(None) };
    let left = given.until_unix_ms().saturating_sub(now_unix_ms);
    if left > LIFE_MS - RENEW_AFTER_MS - OVERDUE_MS {
        return Ok(None);
    }
    let when = match left {
        0.. => format!("runs out in {} days", left / DAY_MS),
        _ => "has run out".to_owned(),
    };
    Ok(Some(format!(
        "the certificate that '{}' shows to other people's tools {when}: it is renewed when the server \
         reaches this host (the suite's own data goes on without)",
        client.name
    )))
}

/// Gives a host that is reached a certificate, where it needs another one. A host whose pair is
/// its administrator's gets none.
pub(crate) async fn certify(house: &House, id: ClientId) -> Result<(), ServerError> {
    let client = house.books.run(move |catalog| catalog.client_numbered(id)).await?;
    if client.state != ClientState::Enrolled {
        return Ok(());
    }
    loop {
        let signing = authority::signing(house).await?;
        certify_by(house, &client, &signing).await?;
        // A rotation while the host was asked: what it shows now is by the authority before.
        if Arc::ptr_eq(&signing, &authority::signing(house).await?) {
            return Ok(());
        }
    }
}

async fn certify_by(house: &House, client: &Client, signing: &Signing) -> Result<(), ServerError> {
    let id = client.id;
    let line = house.nodes.line(id, DEVICE_PATIENCE).await?;
    let state = line.call(NodeState {}).await?;
    let hosts = hosts_of(house, client).await?;
    if state.tls_public_key.is_empty() || hosts.is_empty() {
        // What it was given before is not looked after any more.
        if given_to(house, id).await?.is_some() {
            house.books.run(move |catalog| catalog.set_setting(&name_of(id), &[])).await?;
        }
        return Ok(());
    }
    let now = now_unix_ms();
    let mut wanted = Given {
        key: state.tls_key,
        hosts,
        authority: signing.certificate().to_owned(),
        cross: signing.cross().map(str::to_owned),
        issued_unix_ms: now,
        digest: state.tls_certificate,
    };
    if given_to(house, id).await?.is_some_and(|mut given| {
        let fresh = now.saturating_sub(given.issued_unix_ms) < RENEW_AFTER_MS;
        given.issued_unix_ms = now;
        if wanted.digest.is_empty() {
            // A host of an older version does not say what it shows.
            given.digest.clear();
        }
        fresh && given == wanted
    }) {
        return Ok(());
    }
    let chain = wanted.sign(client, &state.tls_public_key, signing)?;
    line.call(InstallCertificate { chain }).await?;
    wanted.keep(house, id).await?;
    tracing::info!(client = %client.name, "a certificate was given");
    Ok(())
}

/// What became of a host's TLS key.
pub(crate) struct KeyChanged {
    pub former: Vec<u8>,
    pub now: Vec<u8>,
    /// Of its certificate; `None`: it vouches for itself.
    pub until_unix_ms: Option<i64>,
}

/// Gives a host another TLS key, with a certificate of it where the host has names. `forget`: the old
/// one is of no use to anybody from then on, also not to jobs that began with it.
///
/// Errors: a host that is not reached, of an older version, or whose pair is its administrator's.
pub(crate) async fn change_key(
    house: &House,
    client: &Client,
    forget: bool,
) -> Result<KeyChanged, ServerError> {
    let line = house.nodes.line(client.id, DEVICE_PATIENCE).await?;
    let former = line.call(NodeState {}).await?.tls_key;
    let next = line.call(PrepareTlsKey {}).await?;
    let signing = authority::signing(house).await?;
    let mut given = Given {
        key: next.tls_key.clone(),
        hosts: hosts_of(house, client).await?,
        authority: signing.certificate().to_owned(),
        cross: signing.cross().map(str::to_owned),
        issued_unix_ms: now_unix_ms(),
        digest: Vec::new(),
    };
    let chain = match given.hosts.is_empty() {
        true => String::new(),
        false => given.sign(client, &next.tls_public_key, &signing)?,
    };
    let certified = !chain.is_empty();
    line.call(SwitchTlsKey { tls_key: next.tls_key.clone(), chain, forget }).await?;
    if certified {
        given.keep(house, client.id).await?;
    }
    tracing::info!(client = %client.name, forget, "a host has another TLS key");
    let until_unix_ms = certified.then(|| given.until_unix_ms());
    Ok(KeyChanged { former, now: next.tls_key, until_unix_ms })
}

/// Gives certificates to every host that is reached now.
pub(crate) async fn look_after_all(house: &House) -> Result<(), ServerError> {
    for client in house.books.run(|catalog| catalog.clients()).await? {
        let reached = house.nodes.status(client.id).is_some_and(|status| status.line.is_some());
        if reached && let Err(error) = certify(house, client.id).await {
            let error = error.full_message();
            tracing::warn!(client = %client.name, %error, "no certificate could be given");
        }
    }
    Ok(())
}

/// The names and addresses that stand in a host's certificate: those of the interfaces that an
/// administrator gave it. What a host says of itself when it joins, or from where it came, is never
/// vouched for. Of the server's own host also what it advertises.
async fn hosts_of(house: &House, client: &Client) -> Result<Vec<String>, ServerError> {
    let id = client.id;
    let given = house.books.run(move |catalog| catalog.interfaces(id)).await?;
    let given = given.iter().filter_map(|url| url.parse::<Interface>().ok());
    let mut hosts: Vec<String> = given.map(|interface| interface.host).collect();
    if client.id == house.nodes.own() {
        hosts.push(client.name.clone());
        hosts.extend(house.config.advertise.iter().cloned());
        hosts.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    }
    // An address with a zone cannot stand in a certificate.
    hosts.retain(|host| host.is_ascii() && !host.contains('%'));
    let mut seen = std::collections::HashSet::new();
    hosts.retain(|host| seen.insert(host.clone()));
    Ok(hosts)
}
