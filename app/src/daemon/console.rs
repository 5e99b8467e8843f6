//! The server behind the console channel: its verbs on the local socket, a page on the port.

use std::pin::Pin;

use simsim_console::{Api, ApiError, ApiReply, ApiRequest};
use simsim_server::{Answer, JobFollower, Principal, Server};
use tokio::sync::mpsc;

/// Events of a job that wait for a slow listener.
const EVENTS_QUEUED: usize = 64;

pub struct ServerConsole {
    pub server: Server,
    pub name: String,
}

impl Api for ServerConsole {
    fn call(
        &self,
        request: ApiRequest,
    ) -> Pin<Box<dyn Future<Output = Result<ApiReply, ApiError>> + Send + '_>> {
        Box::pin(async move {
            // The channel lets nobody but callers of the local socket come this far; whoever may
            // open that is the owner of the server's state.
            let who = Principal::local_root();
            match self.server.answer(&who, &request.verb, request.body).await {
                Ok(Answer::Json(value)) => Ok(ApiReply::Json(value)),
                Ok(Answer::Events(follower)) => Ok(ApiReply::Lines(lines(follower))),
                Err(error) => Err(ApiError { kind: error.kind(), message: error.full_message() }),
            }
        })
    }

    fn page(&self) -> String {
        let name: String = self.name.chars().filter(|c| !matches!(c, '<' | '>' | '&')).collect();
        let version = env!("CARGO_PKG_VERSION");
        format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>simsim on {name}</title>\
             <style>body{{font:16px/1.5 sans-serif;margin:3em auto;max-width:40em}}</style>\
             <h1>simsim {version}</h1><p>The server on <b>{name}</b> is running.</p>\
             <p>It is steered by the command line on its own host: <code>simsim status</code>.</p>"
        )
    }
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
