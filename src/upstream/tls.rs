//! TLS to providers. Whom it trusts is said in [`crate::tls`].

use crate::provider::Http2;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use std::time::Duration;

/// Plain HTTP for loopback servers, TLS 1.2+ for the rest.
pub(super) type Connector = HttpsConnector<HttpConnector>;

pub(super) fn connector(connect: Duration, http2: Http2, tls: ClientConfig) -> Connector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect));
    tcp.set_keepalive(Some(Duration::from_secs(30)));
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    match http2 {
        Http2::Never => builder.enable_http1().wrap_connector(tcp),
        Http2::Auto => builder.enable_http1().enable_http2().wrap_connector(tcp),
        Http2::Always => builder.enable_http2().wrap_connector(tcp),
    }
}
