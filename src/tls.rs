//! Whom TLS trusts, in one place for everything that flyball itself calls: providers and the shared ledger. What clients of flyball are
//! shown is [`server`].
//!
//! Trusted are Mozilla's roots, which are built in, and this machine's, among which a company keeps a CA of its own. As everywhere,
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` name others in the place of the machine's. Certificates are always verified.

pub mod client;
pub mod server;

use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::{CertificateResult, load_native_certs};
use std::sync::{Arc, LazyLock};

/// Read once: on some machines that is a file of several hundred KB.
static ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| Arc::new(roots(load_native_certs())));

/// TLS 1.2 or 1.3 to servers that show a certificate of a trusted root.
#[must_use]
pub fn client() -> ClientConfig {
    trusting(Arc::clone(&ROOTS))
}

fn trusting(roots: Arc<RootCertStore>) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Mozilla's roots and the machine's. What of the machine's cannot be read is told and left out: the others are still good.
fn roots(machines: CertificateResult) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for error in &machines.errors {
        tracing::warn!(%error, "some of this machine's certificates cannot be read");
    }
    let (_, ignored) = roots.add_parsable_certificates(machines.certs);
    if ignored > 0 {
        tracing::debug!(ignored, "some of this machine's certificates are no roots");
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::{ClientConnection, ServerConfig, ServerConnection};
    use rustls_native_certs::load_certs_from_paths;
    use std::path::PathBuf;

    /// `ca.pem` has signed `server.pem`, which is of `ledger.test`.
    fn fixture(name: &str) -> PathBuf {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
        folder.join(name)
    }

    fn server() -> ServerConnection {
        let chain = CertificateDer::from_pem_file(fixture("server.pem")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(fixture("server.key")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .expect("they fit");
        ServerConnection::new(Arc::new(config)).expect("a server")
    }

    /// Both ends in memory, until they have agreed or one of them gives up.
    fn handshake(roots: RootCertStore) -> Result<(), rustls::Error> {
        let name = ServerName::try_from("ledger.test").expect("a name");
        let config = Arc::new(trusting(Arc::new(roots)));
        let mut client = ClientConnection::new(config, name).expect("a client");
        let mut server = server();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).expect("to memory");
            }
            let mut sent = wire.as_slice();
            while !sent.is_empty() {
                server.read_tls(&mut sent).expect("from memory");
                server.process_new_packets()?;
            }
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).expect("to memory");
            }
            let mut sent = wire.as_slice();
            while !sent.is_empty() {
                client.read_tls(&mut sent).expect("from memory");
                client.process_new_packets()?;
            }
        }
        Ok(())
    }

    #[test]
    fn a_companys_own_ca_is_trusted_where_the_machine_trusts_it_and_mozillas_always() {
        let file = fixture("ca.pem");
        // What SSL_CERT_FILE leads to, without touching the environment of other tests.
        let machines = load_certs_from_paths(Some(&file), None);
        let both = roots(machines);
        let mozillas = webpki_roots::TLS_SERVER_ROOTS.len();
        assert_eq!(both.len(), mozillas + 1);
        assert_eq!(handshake(both), Ok(()));
        let without = roots(CertificateResult::default());
        assert_eq!(without.len(), mozillas);
        assert!(matches!(
            handshake(without),
            Err(rustls::Error::InvalidCertificate(_))
        ));
    }

    #[test]
    fn a_certificate_file_that_cannot_be_read_leaves_mozillas() {
        let machines = load_certs_from_paths(Some(&fixture("none.pem")), None);
        assert!(!machines.errors.is_empty());
        assert_eq!(roots(machines).len(), webpki_roots::TLS_SERVER_ROOTS.len());
    }
}
