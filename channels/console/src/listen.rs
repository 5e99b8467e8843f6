//! The listening ends: the local socket, and the console port.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use simsim_model::limits;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::answer::Line;
use crate::api::Api;
use crate::local::ShortPath;
use crate::{ConsoleError, TlsIdentity};

/// Serves the local socket until `shutdown` says true; then the file is removed. It is made with
/// mode 0600, in a folder that must be the caller's own; its path may be of any length.
pub async fn serve_local(
    socket: &Path,
    api: Arc<dyn Api>,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), ConsoleError> {
    use std::os::unix::fs::PermissionsExt;
    let fail = |source| ConsoleError::Socket { socket: socket.display().to_string(), source };
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let short = ShortPath::of(socket).map_err(fail)?;
    let listener = UnixListener::bind(short.path()).map_err(fail)?;
    drop(short);
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(fail)?;
    let file = socket.to_owned();
    tokio::spawn(async move {
        let _gone = Gone(file);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = shutdown.wait_for(|end| *end) => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let api = Arc::clone(&api);
                    tokio::spawn(connection(
                        stream,
                        Line { api, from: None, place: Arc::default() },
                    ));
                }
                Err(error) => pause(&error).await,
            }
        }
    });
    Ok(())
}

/// Removes the socket when the listener ends: a caller then hears at once that nobody is there.
struct Gone(PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Serves the console port until `shutdown` says true.
pub fn serve_tls(
    listener: TcpListener,
    identity: &TlsIdentity,
    api: Arc<dyn Api>,
    mut shutdown: watch::Receiver<bool>,
) {
    let acceptor = identity.acceptor();
    let admission = simsim_net::Admission::new();
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = shutdown.wait_for(|end| *end) => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause(&error).await;
                    continue;
                }
            };
            let Some(admitted) = admission.admit(peer.ip()) else { continue };
            // An answer leaves at once, and not when the one before it was acknowledged.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!("TCP_NODELAY is not set: {error}");
            }
            let (acceptor, api) = (acceptor.clone(), Arc::clone(&api));
            tokio::spawn(async move {
                let limit = Duration::from_millis(limits::HANDSHAKE_TIMEOUT_MS);
                let place = Arc::new(Mutex::new(Some(admitted)));
                if let Ok(Ok(stream)) = tokio::time::timeout(limit, acceptor.accept(stream)).await {
                    connection(stream, Line { api, from: Some(peer.ip()), place }).await;
                }
            });
        }
    });
}

async fn pause(error: &std::io::Error) {
    tracing::warn!("the console cannot accept a connection: {error}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn connection<S>(stream: S, line: Line)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let line = line.clone();
        async move { Ok::<_, std::convert::Infallible>(line.answer(request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits::HANDSHAKE_TIMEOUT_MS))
        .max_buf_size(limits::HTTP_HEAD_BYTES_MAX)
        .max_headers(limits::HTTP_FIELDS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("a console connection ended: {error}");
    }
}
