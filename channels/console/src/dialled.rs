//! One request on a connection that was just opened, whichever it is.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use simsim_model::Kind;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{ConsoleError, SecretText};

/// Asks a verb. `host`: as the other side is called; `token`: what proves who asks.
pub(crate) async fn send<S>(
    stream: S,
    host: &str,
    token: Option<&SecretText>,
    verb: &str,
    body: &Value,
) -> Result<Response<Incoming>, ConsoleError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    let mut request = Request::post(format!("/v1/{verb}")).header("host", host);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {}", token.reveal()));
    }
    let request = request.body(Full::new(Bytes::from(body.to_string()))).map_err(broken)?;
    sender.send_request(request).await.map_err(broken)
}

/// The one document that is answered.
pub(crate) async fn document(response: Response<Incoming>) -> Result<Value, ConsoleError> {
    let failed = !response.status().is_success();
    let bytes = response.into_body().collect().await.map_err(broken)?.to_bytes();
    let value: Value = serde_json::from_slice(&bytes).map_err(broken)?;
    if failed { Err(refusal(&value)) } else { Ok(value) }
}

/// What is answered, a document a line. `each` answers false to stop listening.
pub(crate) async fn lines(
    response: Response<Incoming>,
    each: &mut (dyn FnMut(Value) -> bool + Send),
) -> Result<(), ConsoleError> {
    let failed = !response.status().is_success();
    let mut body = response.into_body();
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if !each(serde_json::from_slice(&line).map_err(broken)?) {
                return Ok(());
            }
        }
    }
    if failed {
        return Err(refusal(&serde_json::from_slice(&rest).map_err(broken)?));
    }
    Ok(())
}

pub(crate) fn broken(error: impl std::fmt::Display) -> ConsoleError {
    ConsoleError::Broken { why: error.to_string() }
}

/// A failure of a verb, or a problem document.
fn refusal(value: &Value) -> ConsoleError {
    let (kind, message) = match &value["error"] {
        Value::Null => (&value["kind"], &value["detail"]),
        error => (&error["kind"], &error["message"]),
    };
    let kind = match kind.as_str() {
        Some("not_proved") => Kind::Denied,
        Some("too_often") => Kind::Busy,
        kind => {
            let known = Kind::ALL.into_iter().find(|known| Some(known.as_str()) == kind);
            known.unwrap_or(Kind::Internal)
        }
    };
    let message = message.as_str().unwrap_or("the server refused without a reason");
    ConsoleError::Refused { kind, message: message.to_owned() }
}
