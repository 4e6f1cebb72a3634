//! A connection to a flyball's own listener, wherever that is: an address of the network, with TLS or without, or a unix socket.

use super::client::Answer;
use crate::tls::client::Trust;
use crate::unix;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Where a listener is.
#[derive(Clone)]
pub(super) enum At {
    /// Plain HTTP at this host and port.
    Tcp(String),
    /// TLS there.
    Tls(String, Trust),
    /// A unix socket.
    Unix(PathBuf),
}

impl At {
    /// What people write: `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH`. `ca`: a file with the certificate that an `https`
    /// listener shows, or with the authority that has signed it.
    ///
    /// # Errors
    /// It is none of them, or the file holds no certificate.
    pub(super) fn read(text: &str, ca: Option<&str>) -> Result<At, String> {
        if let Some(path) = unix::path(text) {
            return path.map(At::Unix);
        }
        let wrong = || {
            format!(
                "\"{text}\" is no address like http://127.0.0.1:8485, https://flyball.internal:8485 or unix:/run/flyball/admin.sock"
            )
        };
        let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let host = uri
            .host()
            .filter(|_| matches!(uri.path(), "" | "/") && uri.query().is_none());
        let host = host.ok_or_else(wrong)?;
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let authority = format!("{host}:{port}");
        match tls {
            false => Ok(At::Tcp(authority)),
            true => Ok(At::Tls(authority, trust(ca)?)),
        }
    }

    /// As people write it.
    pub(super) fn shown(&self) -> String {
        match self {
            At::Tcp(at) => format!("http://{at}"),
            At::Tls(at, _) => format!("https://{at}"),
            At::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Asks it for a path, with the token that opens it.
    ///
    /// # Errors
    /// Nothing answers there, it is not trusted, or the answer breaks off.
    pub(super) async fn get(&self, path: &str, token: Option<&str>) -> Result<Answer, String> {
        let away = |e: &dyn std::fmt::Display| format!("{} cannot be reached: {e}", self.shown());
        match self {
            At::Tcp(at) => {
                let socket = TcpStream::connect(at).await.map_err(|e| away(&e))?;
                asked(socket, (at, path, token)).await
            }
            At::Tls(at, trust) => {
                let socket = TcpStream::connect(at).await.map_err(|e| away(&e))?;
                let host = at.rsplit_once(':').map_or(at.as_str(), |(host, _)| host);
                let socket = trust.dial(host, socket).await.map_err(|e| {
                    format!(
                        "{}: TLS: {e}; --admin-ca names a file with the certificate that it shows, or with its authority",
                        self.shown()
                    )
                })?;
                asked(socket, (at, path, token)).await
            }
            #[cfg(unix)]
            At::Unix(socket) => {
                let socket = tokio::net::UnixStream::connect(socket).await;
                asked(socket.map_err(|e| away(&e))?, ("localhost", path, token)).await
            }
            #[cfg(not(unix))]
            At::Unix(_) => Err("this system has no unix sockets".into()),
        }
    }
}

/// Whom an `https` listener's certificate is believed of.
///
/// # Errors
/// The file cannot be read, or holds no certificate.
pub(super) fn trust(ca: Option<&str>) -> Result<Trust, String> {
    let Some(file) = ca else {
        return Ok(Trust::usual());
    };
    let pem = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    Trust::also(&pem).map_err(|why| format!("{file} {why}"))
}

async fn asked(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (host, path, token): (&str, &str, Option<&str>),
) -> Result<Answer, String> {
    let broke = |e: hyper::Error| format!("{host} broke off: {e}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket))
        .await
        .map_err(broke)?;
    // It ends with the answer, since nobody asks again on it.
    tokio::spawn(connection);
    let mut request = Request::get(path).header(HOST, host);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let (head, body) = sender
        .send_request(request)
        .await
        .map_err(broke)?
        .into_parts();
    let body = body.collect().await.map_err(broke)?.to_bytes();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_the_network_with_tls_or_without_or_a_unix_socket() {
        for (text, shown) in [
            ("http://127.0.0.1:8485", "http://127.0.0.1:8485"),
            ("http://localhost:8485/", "http://localhost:8485"),
            ("https://flyball.internal", "https://flyball.internal:443"),
            ("https://[::1]:8485", "https://[::1]:8485"),
            (
                "unix:/run/flyball/admin.sock",
                "unix:/run/flyball/admin.sock",
            ),
        ] {
            let at = At::read(text, None).map(|at| at.shown());
            assert_eq!(at, Ok(shown.to_owned()), "{text}");
        }
        for text in [
            "127.0.0.1:8485",
            "ftp://x",
            "http://x/admin",
            "http://x?y",
            "unix:relative",
            "",
        ] {
            assert!(At::read(text, None).is_err(), "{text}");
        }
    }
}
