//! TLS to providers. Whom it trusts is said in [`crate::tls`].

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
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
        .with_tls_config(crate::tls::client())
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp)
}
