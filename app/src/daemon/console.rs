//! The server behind the console channel: who asks, and what for.

use std::net::IpAddr;

use serde_json::Value;
use simsim_console::api::{
    Answering, DownloadReply, LogIn, LoggedIn, Method, ResourceReply, ResourceRequest, SecretText,
};
use simsim_console::page::{PageReply, PageRequest, Visitor};
use simsim_console::{Api, ApiError, ApiReply, Asker, Credentials, NotKnown};
use simsim_server::api::SessionView;
use simsim_server::{Answer, JobFollower, Principal, Server, ServerError, Unknown};
use simsim_web::Web;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// Events of a job that wait for a slow listener.
const EVENTS_QUEUED: usize = 64;

pub struct ServerConsole {
    pub server: Server,
    pub web: Web,
}

impl Api for ServerConsole {
    fn know(
        &self,
        credentials: Credentials,
        from: Option<IpAddr>,
    ) -> Answering<'_, Result<Box<dyn Asker>, NotKnown>> {
        Box::pin(async move {
            let (who, session) = match (credentials, from) {
                // Whoever may open the local socket is the owner of the server's state.
                (Credentials::Local, _) => (Principal::local_root(), None),
                (Credentials::Bearer(secret), Some(from)) => {
                    let known = self.server.with_api_token(secret.reveal(), from).await;
                    (known.map_err(unknown)?, None)
                }
                (Credentials::Session { secret, csrf, changes }, Some(from)) => {
                    let csrf = csrf.as_ref().map(SecretText::reveal);
                    let known =
                        self.server.with_session(secret.reveal(), csrf, changes, from).await;
                    let known = known.map_err(unknown)?;
                    (known.principal, Some(known.session))
                }
                (_, None) => return Err(NotKnown::NotProved),
            };
            let server = self.server.clone();
            Ok(Box::new(Somebody { server, who, session }) as Box<dyn Asker>)
        })
    }

    fn log_in(&self, request: LogIn, from: IpAddr) -> Answering<'_, Result<LoggedIn, NotKnown>> {
        Box::pin(async move {
            let code = request.code.as_ref().map(SecretText::reveal);
            let password = Zeroizing::new(request.password.reveal().to_owned());
            let begun = self.server.log_in(&request.user, password, code, from).await;
            let begun = begun.map_err(unknown)?;
            let session = shown(&begun.session).map_err(NotKnown::Failed)?;
            Ok(LoggedIn { secret: SecretText::new(begun.secret.as_str()), session })
        })
    }

    fn log_out(&self, secret: SecretText) -> Answering<'_, Result<(), ApiError>> {
        Box::pin(async move { self.server.log_out(secret.reveal()).await.map_err(failed) })
    }

    fn not_ready(&self) -> Answering<'_, Vec<&'static str>> {
        Box::pin(self.server.not_ready())
    }

    fn page(&self, request: PageRequest, visitor: Visitor) -> Answering<'_, PageReply> {
        self.web.page(request, visitor)
    }
}

/// Somebody who is known.
struct Somebody {
    server: Server,
    who: Principal,
    session: Option<SessionView>,
}

impl Asker for Somebody {
    fn verb(&self, verb: String, body: Value) -> Answering<'_, Result<ApiReply, ApiError>> {
        Box::pin(async move {
            match self.server.answer(&self.who, &verb, body).await.map_err(failed)? {
                Answer::Json(value) => Ok(ApiReply::Json(value)),
                Answer::Events(follower) => Ok(ApiReply::Lines(lines(follower))),
            }
        })
    }

    fn download(
        &self,
        saveset: String,
        path: String,
    ) -> Answering<'_, Result<DownloadReply, ApiError>> {
        Box::pin(async move {
            let found = self.server.download(&self.who, &saveset, &path).await.map_err(failed)?;
            let kind =
                if found.is_folder { "application/x-tar" } else { "application/octet-stream" };
            Ok(DownloadReply { name: found.name, kind, bytes: found.parts })
        })
    }

    fn metrics(&self, open_metrics: bool) -> Answering<'_, Result<String, ApiError>> {
        Box::pin(async move { self.server.metrics(&self.who, open_metrics).await.map_err(failed) })
    }

    fn resource(&self, request: ResourceRequest) -> Answering<'_, ResourceReply> {
        Box::pin(async move {
            match (&self.session, request.method, request.path.as_str()) {
                (Some(session), Method::Get, "/session") => match shown(session) {
                    Ok(session) => ResourceReply::json(200, session),
                    Err(error) => ResourceReply::problem(error),
                },
                _ => self.server.resource(&self.who, request).await,
            }
        })
    }
}

fn shown(session: &SessionView) -> Result<Value, ApiError> {
    serde_json::to_value(session).map_err(|error| ApiError {
        kind: simsim_model::Kind::Internal,
        message: error.to_string(),
    })
}

fn unknown(why: Unknown) -> NotKnown {
    match why {
        Unknown::NotProved => NotKnown::NotProved,
        Unknown::TooOften { seconds } => NotKnown::TooOften { seconds },
        Unknown::Failed(error) => NotKnown::Failed(failed(error)),
    }
}

fn failed(error: ServerError) -> ApiError {
    ApiError { kind: error.kind(), message: error.full_message() }
}

fn lines(mut follower: Box<JobFollower>) -> mpsc::Receiver<serde_json::Value> {
    let (sender, receiver) = mpsc::channel(EVENTS_QUEUED);
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                event = follower.next() => event,
                () = sender.closed() => return,
            };
            let Some(event) = event else { return };
            let Ok(line) = serde_json::to_value(&event) else { return };
            if sender.send(line).await.is_err() {
                return;
            }
        }
    });
    receiver
}
