//! TLS to one's own flyball: trusted is who is trusted elsewhere, and what a file names: authorities, or the very certificate that the
//! server shows, which may be one that nobody has signed and of another name.

use super::{ROOTS, server};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whom a client of flyball's own trusts.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Who is trusted elsewhere.
    #[must_use]
    pub fn usual() -> Trust {
        Trust(Arc::new(super::client()))
    }

    /// And these certificates, PEM.
    ///
    /// # Errors
    /// There is none in it.
    pub fn also(pem: &str) -> Result<Trust, String> {
        let known = server::certificates(pem)?;
        let mut roots = RootCertStore::clone(&ROOTS);
        // Those that are no authorities are known by themselves.
        roots.add_parsable_certificates(known.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let others =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let others = others.build().map_err(|e| e.to_string())?;
        let verifier = KnownCertificates { known, others };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Trust(Arc::new(config)))
    }

    /// Begins TLS with a server of this name or address.
    ///
    /// # Errors
    /// The server speaks no TLS, or is not trusted.
    pub async fn dial<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        socket: S,
    ) -> io::Result<TlsStream<S>> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(&self.0));
        connector.connect(name, socket).await
    }
}

/// Takes a server that shows one of the known certificates itself, and of others those that are signed and named as they should be.
#[derive(Debug)]
struct KnownCertificates {
    known: Vec<CertificateDer<'static>>,
    others: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for KnownCertificates {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.known.iter().any(|known| known == shown) {
            return Ok(ServerCertVerified::assertion());
        }
        self.others
            .verify_server_cert(shown, between, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls12_signature(message, shown, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls13_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.others.supported_verify_schemes()
    }
}
