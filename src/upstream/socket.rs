//! A connection's socket: TCP, with TLS or without, or a unix socket of this machine.

use super::tls::{Connector, connector};
use crate::provider::Http2;
use crate::unix;
use http::uri::Scheme;
use http::{Uri, uri::Authority};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::Connection;
use rustls::ClientConfig;
use std::error::Error as StdError;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tower_service::Service;

#[cfg(unix)]
type Local = hyper_util::rt::TokioIo<tokio::net::UnixStream>;

/// One of them.
pub(super) enum Socket {
    Far(Box<<Connector as Service<Uri>>::Response>),
    #[cfg(unix)]
    Local(Local),
}

/// Makes them: by each way to speak of HTTP/2.
#[derive(Clone, Debug)]
pub(super) struct Connectors {
    never: Connector,
    auto: Connector,
    always: Connector,
    within: Duration,
}

impl Connectors {
    pub(super) fn new(within: Duration, tls: &ClientConfig) -> Connectors {
        let made = |http2| connector(within, http2, tls.clone());
        Connectors {
            never: made(Http2::Never),
            auto: made(Http2::Auto),
            always: made(Http2::Always),
            within,
        }
    }

    /// A connection to this server.
    pub(super) async fn connect(
        &self,
        (scheme, authority): (&Scheme, &Authority),
        http2: Http2,
    ) -> Result<Socket, Box<dyn StdError + Send + Sync>> {
        if scheme.as_str() == unix::SCHEME {
            return self.local(authority.host()).await;
        }
        let mut connector = match http2 {
            Http2::Never => self.never.clone(),
            Http2::Auto => self.auto.clone(),
            Http2::Always => self.always.clone(),
        };
        let uri = Uri::builder()
            .scheme(scheme.clone())
            .authority(authority.clone())
            .path_and_query("/")
            .build()?;
        poll_fn(|cx| connector.poll_ready(cx)).await?;
        Ok(Socket::Far(Box::new(connector.call(uri).await?)))
    }

    #[cfg(unix)]
    async fn local(&self, host: &str) -> Result<Socket, Box<dyn StdError + Send + Sync>> {
        let path = unix::socket(host).ok_or("the address is no unix socket's")?;
        let connecting = tokio::net::UnixStream::connect(&path);
        let stream = tokio::time::timeout(self.within, connecting).await??;
        Ok(Socket::Local(Local::new(stream)))
    }

    #[cfg(not(unix))]
    async fn local(&self, _: &str) -> Result<Socket, Box<dyn StdError + Send + Sync>> {
        Err("this system has no unix sockets".into())
    }
}

impl Socket {
    /// HTTP/2 was agreed on over TLS.
    pub(super) fn agreed_on_http2(&self) -> bool {
        match self {
            Socket::Far(far) => far.connected().is_negotiated_h2(),
            #[cfg(unix)]
            Socket::Local(_) => false,
        }
    }
}

impl Read for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Far(far) => Pin::new(far).poll_read(cx, buffer),
            #[cfg(unix)]
            Socket::Local(local) => Pin::new(local).poll_read(cx, buffer),
        }
    }
}

impl Write for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Far(far) => Pin::new(far).poll_write(cx, bytes),
            #[cfg(unix)]
            Socket::Local(local) => Pin::new(local).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Far(far) => Pin::new(far).poll_write_vectored(cx, pieces),
            #[cfg(unix)]
            Socket::Local(local) => Pin::new(local).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Socket::Far(far) => far.is_write_vectored(),
            #[cfg(unix)]
            Socket::Local(local) => local.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Far(far) => Pin::new(far).poll_flush(cx),
            #[cfg(unix)]
            Socket::Local(local) => Pin::new(local).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Far(far) => Pin::new(far).poll_shutdown(cx),
            #[cfg(unix)]
            Socket::Local(local) => Pin::new(local).poll_shutdown(cx),
        }
    }
}
