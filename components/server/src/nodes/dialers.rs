//! One dialler for each access mode, and the client's own is the only one that is asked.

use std::any::Any;

use simsim_catalog::{AccessMode, Client};
use simsim_control::{
    ControlClient, ControlError, CtrlDialer, Expected, Hello, Identity, PublicKey, SERVER_USER,
    SmsshDialer, Timing,
};
use simsim_model::port_registry::{CTRL, HTTPS, SMSSH};
use simsim_net::{BoxedWire, DialError};

use crate::ServerError;
use crate::way::Way;

/// The dialling ends of the control channel.
pub(crate) struct Dialers {
    smssh: SmsshDialer,
    ctrl: CtrlDialer,
}

impl Dialers {
    pub(crate) fn new(identity: &Identity, hello: &Hello, timing: Timing) -> Self {
        let (smssh, ctrl) = (identity.clone(), identity.clone());
        Self {
            smssh: SmsshDialer::new(smssh, hello.clone()).with_timing(timing),
            ctrl: CtrlDialer::new(ctrl, hello.clone()).with_timing(timing),
        }
    }

    /// A session with a client, in its access mode. What does not come about in it does not come
    /// about: there is no second attempt in another mode.
    pub(crate) async fn dial(
        &self,
        client: &Client,
        addresses: &[String],
        key: &PublicKey,
    ) -> Result<ControlClient, ControlError> {
        match client.access_mode {
            AccessMode::Smssh => self.smssh.connect(addresses, key, SERVER_USER).await,
            AccessMode::Ctrl => self.ctrl.connect(addresses, key).await,
            AccessMode::Outbound => Err(ControlError::Dial(DialError::NoAddress)),
        }
    }

    /// A session on a stream that the other side opened, and the key that it proved.
    pub(crate) async fn over(
        &self,
        stream: BoxedWire,
        label: &str,
        expected: Expected<'_>,
        keeper: Box<dyn Any + Send + Sync>,
    ) -> Result<(ControlClient, PublicKey), ControlError> {
        self.ctrl.call_over(stream, label, expected, keeper).await
    }

    /// As [`Dialers::dial`], with an error that names the way, and what to set on which side.
    pub(crate) async fn connect(
        &self,
        client: &Client,
        way: &Way,
        addresses: &[String],
        key: &PublicKey,
    ) -> Result<ControlClient, ServerError> {
        self.dial(client, addresses, key).await.map_err(|error| {
            let (kind, text) = (error.kind(), error.to_string());
            let text = match error {
                ControlError::Dial(_)
                | ControlError::Handshake { .. }
                | ControlError::TimedOut { .. } => {
                    format!("{}. {}", way.blocked(&text), advice(client))
                }
                _ => text,
            };
            ServerError::node(&client.name, kind, text)
        })
    }
}

/// What to set, on which side, when nobody answers there, or somebody else.
pub(crate) fn advice(client: &Client) -> String {
    let (name, mode) = (&client.name, client.access_mode);
    match mode {
        AccessMode::Smssh => format!(
            "The access mode of '{name}' is {mode}: simsim must run there and listen for it \
             (setting 'listen.{}')",
            SMSSH.id
        ),
        AccessMode::Ctrl => format!(
            "The access mode of '{name}' is {mode}: its settings must say 'listen.{} = [\"::\"]'; \
             to steer it encrypted instead, say here 'simsim client set {name} --access-mode smssh'",
            CTRL.id
        ),
        AccessMode::Outbound => format!(
            "The access mode of '{name}' is {mode}: it calls this server, on a TCP port of row \
             {} that is open here (setting 'listen.{0}'), and nobody dials it; it must run, and \
             have joined with 'simsim client join SERVER --outbound'",
            HTTPS.id
        ),
    }
}
