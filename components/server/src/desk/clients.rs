//! Clients: listing, enrolling, revoking.

use simsim_catalog::{AccessMode, Client, JobFilter, JobState};
use simsim_control::{JoinCode, PublicKey, join};
use simsim_model::port_registry::{CTRL, HTTPS, SMSSH};

use super::holders;
use crate::api::{
    ClientAddressesRequest, ClientRequest, ClientSetRequest, ClientView, JoinCodeReply,
    JoinCodeRequest, KeyRotatedReply, RevokeReply, RotateKeyRequest,
};
use crate::certificates;
use crate::clock::now_unix_ms;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

impl Server {
    /// The clients that the caller may see, by name.
    pub async fn clients(&self, who: &Principal) -> Result<Vec<ClientView>, ServerError> {
        let clients = self.house.books.run(|catalog| catalog.clients()).await?;
        // Whoever sees a task sees that its client is there.
        let seen: Vec<_> = clients
            .iter()
            .filter(|client| who.reaches(Right::View, &client.name))
            .map(|client| self.client_view(client))
            .collect();
        if seen.is_empty() {
            self.may_see(who, Right::View, "list clients", Object::Suite).await?;
        }
        Ok(seen)
    }

    /// One client.
    pub async fn client(
        &self,
        who: &Principal,
        request: ClientRequest,
    ) -> Result<ClientView, ServerError> {
        self.may_see_of(who, Right::View, "see", &request.name).await?;
        let client = self.house.books.run(move |catalog| catalog.client(&request.name)).await?;
        Ok(self.client_view(&client))
    }

    /// Makes a one-time code with which a host can join.
    pub async fn create_join_code(
        &self,
        who: &Principal,
        request: JoinCodeRequest,
    ) -> Result<JoinCodeReply, ServerError> {
        let house = &self.house;
        if let Some(name) = &request.name {
            if !join::is_name(name) {
                return Err(ServerError::invalid(format!(
                    "'{}' cannot be a host's name: use letters, digits, dots, dashes and underscores, at most {}",
                    name.escape_debug(),
                    join::NAME_BYTES_MAX
                )));
            }
            if *name == house.own_name {
                return Err(ServerError::invalid(format!(
                    "'{name}' is the server's own host: it needs no code"
                )));
            }
        }
        let calls_at = house.nodes.called_at();
        if request.outbound && calls_at.is_none() {
            return Err(ServerError::invalid(format!(
                "this server takes no calls: open row {} with 'listen.{0} = [\"::\"]' in its settings, \
                 and start it again",
                HTTPS.id
            )));
        }
        let mut bound = request.name.clone().unwrap_or_else(|| "any free name".to_owned());
        if request.outbound {
            bound.push_str(", which calls");
        }
        // Whoever joins under the name of a client that was there has its data brought back to it.
        if let Some(name) = request.name.clone() {
            let named = name.clone();
            let known = house.books.run(move |catalog| catalog.clients()).await?;
            if known.iter().any(|client| client.name == named) {
                let verb = "let another host take the place of";
                self.may_see(who, Right::RestoreToOther, verb, Object::Client(&name)).await?;
            }
        }
        self.may_do(who, Right::Administer, "client.join-code", Object::Suite, bound).await?;
        let code = JoinCode::generate(&house.identity.public());
        let hash = *blake3::hash(code.secret()).as_bytes();
        let now = now_unix_ms();
        let expires_unix_ms = now + i64::from(house.config.join_code_minutes) * 60_000;
        let kept = simsim_catalog::JoinCode {
            hash,
            sealed_secret: house.master.seal(&join_purpose(&hash), code.secret())?,
            client_name: request.name.clone(),
            outbound: request.outbound,
            created_unix_ms: now,
            expires_unix_ms,
            used_unix_ms: None,
            wrong_attempts: 0,
        };
        house.books.run(move |catalog| catalog.add_join_code(&kept)).await?;
        let text = code.text().to_string();
        let name =
            request.name.as_deref().map(|name| format!(" --name {name}")).unwrap_or_default();
        let mut server =
            house.config.advertise.first().cloned().unwrap_or_else(|| house.name.clone());
        let mut outbound = String::new();
        if request.outbound {
            let port = calls_at.filter(|port| *port != HTTPS.ports.first());
            let place = port.map(|port| format!("={}", crate::nodes::with_port(&server, port)));
            outbound = format!(" --outbound{}", place.unwrap_or_default());
        } else if house.config.control_port != SMSSH.ports.first() {
            server = crate::nodes::with_port(&server, house.config.control_port);
        }
        Ok(JoinCodeReply {
            command: format!("simsim client join {server}{outbound} --code {text}{name}"),
            code: text,
            name: request.name,
            expires_unix_ms,
        })
    }

    /// Takes all rights from a client, now: its session is closed, its jobs end, its transfers are
    /// revoked at their devices. Savesets stay. What still names it is said and no reason to refuse: it is for
    /// emergencies.
    pub async fn revoke_client(
        &self,
        who: &Principal,
        request: ClientRequest,
    ) -> Result<RevokeReply, ServerError> {
        let house = &self.house;
        let object = Object::Client(&request.name);
        if request.name == house.own_name {
            return Err(ServerError::invalid("the server's own host cannot be revoked"));
        }
        self.may_do(who, Right::Administer, "client.revoke", object, "").await?;
        let name = request.name.clone();
        let client =
            house.books.run(move |catalog| catalog.revoke_client(&name, now_unix_ms())).await?;
        house.nodes.remove(client.id);
        let id = client.id;
        let open = JobFilter {
            client: Some(id),
            states: vec![JobState::Queued, JobState::Running],
            ..JobFilter::default()
        };
        let jobs = house.books.run(move |catalog| catalog.jobs(&open)).await?;
        let mut jobs_ended = house.jobs.of_client(id);
        for job in jobs {
            let number = job.number;
            // One that ended just now needs no asking.
            let _ = house.books.run(move |catalog| catalog.ask_cancel(number, now_unix_ms())).await;
            house.jobs.cancel(number);
            jobs_ended.push(number);
        }
        jobs_ended.sort_unstable();
        jobs_ended.dedup();
        house.jobs.wake();
        let sees_all = who.may(Right::View, Object::Suite);
        let still_named_by = house
            .books
            .run(move |catalog| {
                let mut by = holders::belongings_of(catalog, &request.name)?;
                if sees_all {
                    by.extend(holders::of_client(catalog, &request.name)?);
                }
                Ok(by)
            })
            .await?;
        Ok(RevokeReply { client: self.client_view(&client), jobs_ended, still_named_by })
    }

    /// Changes where a client is dialled.
    pub async fn set_client_addresses(
        &self,
        who: &Principal,
        request: ClientAddressesRequest,
    ) -> Result<ClientView, ServerError> {
        let house = &self.house;
        let object = Object::Client(&request.name);
        let detail = request.addresses.join(", ");
        self.may_see(who, Right::Administer, "client.addresses", object).await?;
        if let Some(wrong) = request.addresses.iter().find(|address| !is_address(address)) {
            return Err(ServerError::invalid(format!(
                "'{}' is no address: give a host's name or an IP address, without a port",
                wrong.escape_debug()
            )));
        }
        self.may_do(who, Right::Administer, "client.addresses", object, detail).await?;
        let client = house
            .books
            .run(move |catalog| {
                let there = catalog.client(&request.name)?;
                let port = request.listen_port.unwrap_or(there.listen_port);
                catalog.set_client_addresses(&request.name, &request.addresses, port)
            })
            .await?;
        if client.is_enrolled() {
            house.nodes.add(&client);
        }
        Ok(self.client_view(&client))
    }

    /// Changes how a client is steered: the session in the old mode ends, and the client is dialled
    /// in the new one and in no other.
    pub async fn set_client(
        &self,
        who: &Principal,
        request: ClientSetRequest,
    ) -> Result<ClientView, ServerError> {
        let house = &self.house;
        let object = Object::Client(&request.name);
        let port = request.port.map(|port| format!(", port {port}")).unwrap_or_default();
        let detail = format!("access mode {}{port}", request.access_mode.as_str());
        self.may_do(who, Right::Administer, "client.set", object, detail).await?;
        let client = house
            .books
            .run(move |catalog| {
                catalog.set_client_access(&request.name, request.access_mode, request.port)
            })
            .await?;
        if client.is_enrolled() {
            house.nodes.add(&client);
        }
        Ok(self.client_view(&client))
    }

    /// Gives a client another TLS key: the one by which hosts of the suite know it at ports with TLS, and of
    /// which the certificate for other people's tools is. What is under way goes on, unless `now` is said.
    ///
    /// Errors: `Unreachable`; `Invalid` where the pair is the administrator's.
    pub async fn rotate_client_key(
        &self,
        who: &Principal,
        request: RotateKeyRequest,
    ) -> Result<KeyRotatedReply, ServerError> {
        let house = &self.house;
        let object = Object::Client(&request.name);
        let how = if request.now { "the old one is forgotten" } else { "" };
        self.may_do(who, Right::Administer, "client.rotate-key", object, how).await?;
        let name = request.name.clone();
        let client = house.books.run(move |catalog| catalog.client(&name)).await?;
        if !client.is_enrolled() {
            return Err(ServerError::Refused(format!("client '{}' is revoked", client.name)));
        }
        let changed = certificates::change_key(house, &client, request.now).await?;
        let hex = |key: &[u8]| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Ok(KeyRotatedReply {
            client: client.name,
            tls_key: hex(&changed.now),
            former_tls_key: hex(&changed.former),
            certificate_until_unix_ms: changed.until_unix_ms,
        })
    }

    pub(super) fn client_view(&self, client: &Client) -> ClientView {
        let status = self.house.nodes.status(client.id);
        let connected = status.as_ref().is_some_and(|status| status.line.is_some());
        let listens_for_ctrl = status.as_ref().is_some_and(|status| status.listens_for_ctrl);
        ClientView {
            name: client.name.clone(),
            fingerprint: client
                .host_key
                .parse::<PublicKey>()
                .map_or_else(|_| client.host_key.clone(), |key| key.fingerprint()),
            addresses: client.addresses.clone(),
            listen_port: client.listen_port,
            access_mode: client.access_mode,
            ctrl_port: client.ctrl_port.unwrap_or(CTRL.ports.first()),
            listens_for_ctrl,
            roles: client.roles.clone(),
            platform: client.platform.clone(),
            suite_version: client.suite_version.clone(),
            state: client.state.as_str().to_owned(),
            enrolled_unix_ms: client.enrolled_unix_ms,
            revoked_unix_ms: client.revoked_unix_ms,
            last_seen_unix_ms: client.last_seen_unix_ms,
            connected,
            trouble: status.and_then(|status| status.last_error).map(|(_, why)| why),
            warning: unencrypted(client, listens_for_ctrl),
            location: client.location.clone(),
            wake: crate::wake::of_client(client).map(|waking| waking.shown()),
        }
    }
}

/// What there is to say, for as long as it is so, about a client whose control channel is not
/// encrypted, or could be.
pub(crate) fn unencrypted(client: &Client, listens_for_ctrl: bool) -> Option<String> {
    let name = &client.name;
    if !client.is_enrolled() {
        return None;
    }
    match client.access_mode {
        AccessMode::Ctrl => Some(format!(
            "client '{name}' is steered over CTRL, which is not encrypted: everybody on the way \
             can read what is asked of it, when and how much; back to SMSSH with 'simsim client \
             set {name} --access-mode smssh'"
        )),
        AccessMode::Smssh if listens_for_ctrl => Some(format!(
            "client '{name}' listens for CTRL, which is not encrypted, and is not steered so: take \
             'listen.{}' out of its settings",
            CTRL.id
        )),
        AccessMode::Smssh | AccessMode::Outbound => None,
    }
}

/// Binds a sealed join secret to its code.
pub(crate) fn join_purpose(hash: &[u8; 32]) -> Vec<u8> {
    [b"simsim catalog join code v1".as_slice(), hash].concat()
}

/// Whether a host can be dialled there: an IP address, with a zone where it is of one link, or a name of DNS.
fn is_address(text: &str) -> bool {
    let plain = text.split_once('%').map_or(text, |(address, _)| address);
    let part = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    plain.parse::<std::net::IpAddr>().is_ok()
        || (text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_ip_or_a_name_and_nothing_else() {
        for right in ["db_1.example.org.", "fe80::1%eth0", "2001:db8::1", "192.0.2.7", "vault"] {
            assert!(is_address(right), "{right}");
        }
        for wrong in ["bad host", "h\u{2603}st", "host:9", "http://host", "", "a..b", "[::1]"] {
            assert!(!is_address(wrong), "{wrong}");
        }
    }
}
