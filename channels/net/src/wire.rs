//! One name for every duplex stream of bytes: a TCP connection, TLS upon it, a pipe in this
//! process, a stream of a multiplexer. Channels speak over wires and do not ask what they are
//! made of.

use tokio::io::{AsyncRead, AsyncWrite};

/// A duplex stream of bytes.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for T {}

/// A wire of any make.
pub type BoxedWire = Box<dyn Wire>;
