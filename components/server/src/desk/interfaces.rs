//! Interfaces: the data addresses of device hosts, who chose them, and who may not lose them.

use std::collections::HashMap;

use simsim_catalog::Catalog;
use simsim_control::verbs::DataEndpoint;
use simsim_model::interface::{Interface, Scheme};
use tokio::sync::Mutex;

use super::events::interface_of;
use super::tasks::options_of;
use crate::api::{
    ChooseInterfacesRequest, InterfaceHostRequest, InterfaceView, InterfacesView,
    SetInterfacesReply, SetInterfacesRequest,
};
use crate::certificates;
use crate::jobs::{Choice, DeviceDoors};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

/// Interfaces of one host, and choices of one client or task.
const INTERFACES_MAX: usize = 32;

/// Who chooses an interface and who takes one away wait for each other: what was looked at holds until it
/// is written.
pub(crate) static CHOOSING: Mutex<()> = Mutex::const_new(());

impl Server {
    /// The interfaces of every device host that the caller may see, and what other clients chose.
    pub async fn interfaces(&self, who: &Principal) -> Result<Vec<InterfacesView>, ServerError> {
        let read = |catalog: &Catalog| Ok((catalog.clients()?, catalog.all_client_choices()?));
        let (clients, choosers) = self.house.books.run(read).await?;
        let mut views = Vec::new();
        for client in clients {
            let device = client.has_role("device") && client.is_enrolled();
            let chose = choosers.iter().any(|(name, _)| *name == client.name);
            if (device || chose) && who.may(Right::View, Object::Client(&client.name)) {
                views.push(self.interfaces_of(&client.name).await?);
            }
        }
        if views.is_empty() {
            self.may_see(who, Right::View, "list interfaces", Object::Suite).await?;
        }
        Ok(views)
    }

    /// The interfaces of one host, and what it chose.
    pub async fn host_interfaces(
        &self,
        who: &Principal,
        request: InterfaceHostRequest,
    ) -> Result<InterfacesView, ServerError> {
        let object = Object::Client(&request.host);
        self.may_see(who, Right::View, "see the interfaces of", object).await?;
        self.interfaces_of(&request.host).await
    }

    /// Gives a host its interfaces. One that a client, a task or an event chose cannot be taken away.
    pub async fn set_interfaces(
        &self,
        who: &Principal,
        request: SetInterfacesRequest,
    ) -> Result<SetInterfacesReply, ServerError> {
        let detail = request.interfaces.join(", ");
        let object = Object::Client(&request.host);
        self.may_do(who, Right::Administer, "interface.set", object, detail).await?;
        few(&request.interfaces)?;
        let host = request.host.clone();
        let client = self.house.books.run(move |catalog| catalog.client(&host)).await?;
        if !client.has_role("device") {
            return Err(ServerError::invalid(format!(
                "'{}' has no device: interfaces belong to hosts that take data",
                client.name
            )));
        }
        let (wanted, warnings) = parse(&request.interfaces)?;
        let choosing = CHOOSING.lock().await;
        let before = self.interfaces_of(&request.host).await?;
        // They come to stand in a certificate of the suite: whoever holds this host alone cannot have it vouch for others.
        let hosts_of = |urls: &[String]| -> Vec<String> {
            let parsed = urls.iter().filter_map(|url| url.parse::<Interface>().ok());
            parsed.map(|interface| interface.host.to_ascii_lowercase()).collect()
        };
        let set: Vec<String> = before.interfaces.iter().map(|one| one.url.clone()).collect();
        let mut own = if before.set { hosts_of(&set) } else { Vec::new() };
        own.extend(client.addresses.iter().map(|address| address.to_ascii_lowercase()));
        own.push(client.name.to_ascii_lowercase());
        if hosts_of(&wanted).iter().any(|host| !own.contains(host)) {
            let verb = "give a host a name that it did not have, over";
            self.may_see(who, Right::Administer, verb, Object::Suite).await?;
        }
        for gone in before.interfaces.iter().filter(|one| before.set && !one.chosen_by.is_empty()) {
            if !wanted.contains(&gone.url) {
                return Err(ServerError::Refused(format!(
                    "the interface {} of '{}' is in use by {}: let them choose another first",
                    gone.url,
                    request.host,
                    gone.chosen_by.join(", ")
                )));
            }
        }
        let host = request.host.clone();
        self.house.books.run(move |catalog| catalog.set_interfaces(&host, &wanted)).await?;
        drop(choosing);
        // Its names may stand in its certificate now; a host that is away gets it when it comes.
        if self.house.nodes.status(client.id).is_some_and(|status| status.line.is_some())
            && let Err(error) = certificates::certify(&self.house, client.id).await
        {
            let error = error.full_message();
            tracing::warn!(client = %client.name, %error, "no certificate could be given");
        }
        Ok(SetInterfacesReply { view: self.interfaces_of(&request.host).await?, warnings })
    }

    /// Lets a client's data go by some interfaces.
    pub async fn choose_interfaces(
        &self,
        who: &Principal,
        request: ChooseInterfacesRequest,
    ) -> Result<InterfacesView, ServerError> {
        let detail = request.choices.join(", ");
        let object = Object::Client(&request.client);
        self.may_do(who, Right::Administer, "interface.choose", object, detail).await?;
        let _choosing = CHOOSING.lock().await;
        self.check_choices(&request.choices).await?;
        let client = request.client.clone();
        self.house
            .books
            .run(move |catalog| catalog.set_client_choices(&request.client, &request.choices))
            .await?;
        self.interfaces_of(&client).await
    }

    /// Choices must be protocols, or interfaces that some host has.
    pub(crate) async fn check_choices(&self, choices: &[String]) -> Result<(), ServerError> {
        few(choices)?;
        if choices.is_empty() {
            return Ok(());
        }
        let known = self.house.books.run(|catalog| catalog.all_interfaces()).await?;
        for text in choices {
            let Choice::Interface(wanted) = Choice::parse(text).map_err(ServerError::invalid)?
            else {
                continue;
            };
            let is_wanted = |url: &str| url.parse::<Interface>().ok().as_ref() == Some(&wanted);
            if !known.iter().any(|(_, url)| is_wanted(url)) {
                return Err(ServerError::invalid(format!(
                    "no host has the interface {wanted}: 'simsim interface list' shows them, \
                     'simsim interface set HOST {wanted} …' adds it, or choose a protocol only, \
                     such as '{}'",
                    wanted.scheme
                )));
            }
        }
        Ok(())
    }

    async fn interfaces_of(&self, host: &str) -> Result<InterfacesView, ServerError> {
        let name = host.to_owned();
        let (client, urls, choices, by_clients, tasks, events) = self
            .house
            .books
            .run(move |catalog| {
                let client = catalog.client(&name)?;
                let urls = catalog.interfaces(client.id)?;
                let choices = catalog.client_choices(client.id)?;
                let (by_clients, tasks) = (catalog.all_client_choices()?, catalog.tasks()?);
                Ok((client, urls, choices, by_clients, tasks, catalog.events()?))
            })
            .await?;
        let mut chosen: HashMap<String, Vec<String>> = HashMap::new();
        let mut note = |choice: &str, by: String| {
            if let Ok(Choice::Interface(interface)) = Choice::parse(choice) {
                chosen.entry(interface.to_string()).or_default().push(by);
            }
        };
        for (client, choice) in &by_clients {
            note(choice, format!("client '{client}'"));
        }
        for task in &tasks {
            for choice in options_of(&task.settings.options)?.interfaces {
                note(&choice, format!("task '{}'", task.settings.name));
            }
        }
        for event in &events {
            if let Some(choice) = interface_of(event)? {
                note(&choice, format!("event '{}'", event.name));
            }
        }
        let set = !urls.is_empty();
        let urls = match client.has_role("device") {
            true if !set => self.defaults_of(&client),
            _ => urls,
        };
        let view = |url: String| InterfaceView {
            chosen_by: chosen.get(&url).cloned().unwrap_or_default(),
            url,
        };
        let interfaces = urls.into_iter().map(view).collect();
        Ok(InterfacesView { host: client.name, interfaces, set, choices })
    }

    /// What a host without interfaces has: HTTP at its addresses. Which other listeners are open
    /// is known when a job asks.
    fn defaults_of(&self, client: &simsim_catalog::Client) -> Vec<String> {
        let row = Scheme::Http.row();
        let endpoint = DataEndpoint { row: row.id.to_owned(), port: row.ports.first() };
        let doors = DeviceDoors {
            name: &client.name,
            given: Vec::new(),
            endpoints: &[endpoint],
            hosts: &client.addresses,
        };
        let ways = doors.choose(&[], &[Scheme::Http]).unwrap_or_default();
        ways.iter().map(Interface::to_string).collect()
    }
}

fn few(texts: &[String]) -> Result<(), ServerError> {
    if texts.len() > INTERFACES_MAX {
        return Err(ServerError::invalid(format!("at most {INTERFACES_MAX} interfaces")));
    }
    Ok(())
}

/// The interfaces as they are kept, each once, and what a person should know of them.
fn parse(texts: &[String]) -> Result<(Vec<String>, Vec<String>), ServerError> {
    let (mut kept, mut warnings) = (Vec::new(), Vec::new());
    for text in texts {
        let interface: Interface =
            text.parse().map_err(|error: simsim_model::interface::InterfaceError| {
                ServerError::invalid(error.to_string())
            })?;
        if Interface::is_bare(text) {
            warnings.push(format!(
                "'{text}' has no protocol and means FTP: https://{} is safer, needs one port and \
                 lets any number of transfers run at once",
                interface.host
            ));
        }
        let url = interface.to_string();
        if kept.contains(&url) {
            return Err(ServerError::invalid(format!("{url} stands there twice")));
        }
        kept.push(url);
    }
    Ok((kept, warnings))
}
