//! TLS towards clients: the certificate that flyball shows, read anew while it serves, and whom it demands one of.

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How TLS calls HTTP/2 (RFC 9113, 3.1).
const HTTP2: &[u8] = b"h2";

/// What a client is shown, and what it must show itself.
#[derive(Clone)]
pub struct Identity(Arc<ServerConfig>);

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// What is wrong with one of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The certificate's.
    Certificate(String),
    /// The key's.
    Key(String),
    /// That of the authorities who sign clients' certificates.
    Clients(String),
}

impl Identity {
    /// TLS 1.2 and 1.3 with this chain of certificates and its key, all of them PEM. `clients`: only who shows a certificate that one of
    /// these authorities has signed is answered.
    ///
    /// # Errors
    /// One of them is not what it should be, or the key is not the certificate's.
    pub fn read(certificate: &str, key: &str, clients: Option<&str>) -> Result<Identity, Wrong> {
        let chain = certificates(certificate).map_err(Wrong::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|e| Wrong::Key(format!("holds no private key in PEM: {e}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring supports TLS 1.2 and 1.3");
        let clients = match clients {
            None => versions.with_no_client_auth(),
            Some(authorities) => {
                let told = |e: &dyn Display| Wrong::Clients(e.to_string());
                let mut roots = RootCertStore::empty();
                for authority in certificates(authorities).map_err(Wrong::Clients)? {
                    roots.add(authority).map_err(|e| told(&e))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                versions.with_client_cert_verifier(verifier.map_err(|e| told(&e))?)
            }
        };
        let mut config = clients
            .with_single_cert(chain, key)
            .map_err(|e| Wrong::Key(format!("is not that of the certificate: {e}")))?;
        config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
        Ok(Identity(Arc::new(config)))
    }
}

pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(none) if none.is_empty() => Err("holds no certificate in PEM".into()),
        Ok(all) => Ok(all),
        Err(e) => Err(format!("holds no certificate in PEM: {e}")),
    }
}

/// What a listener greets its clients with; another identity takes the place of this one while it serves.
#[derive(Debug)]
pub struct Greeter(ArcSwap<Identity>);

impl Greeter {
    /// Begins with this identity.
    #[must_use]
    pub fn new(identity: Identity) -> Greeter {
        Greeter(ArcSwap::from_pointee(identity))
    }

    /// From the next connection on.
    pub fn replace(&self, identity: Identity) {
        self.0.store(Arc::new(identity));
    }

    /// Takes a connection up.
    ///
    /// # Errors
    /// The client speaks no TLS that flyball does, does not believe the certificate, or shows none that is believed.
    pub async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: S,
    ) -> io::Result<TlsStream<S>> {
        let config = Arc::clone(&self.0.load().0);
        TlsAcceptor::from(config).accept(socket).await
    }
}

/// Whether HTTP/2 was agreed on.
#[must_use]
pub fn speaks_http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> String {
        let folder =
            std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
        std::fs::read_to_string(folder.join(name)).expect("a fixture")
    }

    #[test]
    fn what_is_wrong_is_told_of_the_file_in_which_it_is() {
        let (certificate, key, ca) = (
            fixture("front-a.pem"),
            fixture("front-a.key"),
            fixture("front-ca.pem"),
        );
        let other = fixture("client.key");
        assert!(Identity::read(&certificate, &key, Some(&ca)).is_ok());
        for (certificate, key, clients, wrong) in [
            ("no", &*key, None, "Certificate"),
            (&*key, &*key, None, "Certificate"),
            (&*certificate, "no", None, "Key"),
            (&*certificate, &*certificate, None, "Key"),
            (&*certificate, &*other, None, "Key"),
            (&*certificate, &*key, Some("no"), "Clients"),
        ] {
            let told = Identity::read(certificate, key, clients).expect_err(wrong);
            assert!(format!("{told:?}").starts_with(wrong), "{told:?}");
        }
    }
}
