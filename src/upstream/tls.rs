//! TLS to providers. Certificates are always verified.

use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;

/// Plain HTTP for loopback servers, TLS 1.2+ for the rest.
pub(super) type Connector = HttpsConnector<HttpConnector>;

pub(super) fn connector(connect: Duration) -> Connector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect));
    tcp.set_keepalive(Some(Duration::from_secs(30)));
    HttpsConnectorBuilder::new()
        .with_tls_config(config())
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp)
}

fn config() -> ClientConfig {
    let builder = || {
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring supports TLS 1.2 and 1.3")
    };
    match builder().with_native_roots() {
        Ok(config) => config.with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "this machine has no certificate store; Mozilla's built-in one is used");
            builder().with_webpki_roots().with_no_client_auth()
        }
    }
}
