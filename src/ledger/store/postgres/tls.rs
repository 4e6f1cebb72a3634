//! The connection, encrypted where the address asks for it. Whom it trusts is said in [`crate::tls`]: the same as the providers' connections.

use postgres::{Client, Config, NoTls};
use std::time::Duration;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

pub(super) fn connect(url: &str) -> Result<Client, postgres::Error> {
    let mut config: Config = url.parse()?;
    config.connect_timeout(CONNECT).application_name("flyball");
    config.keepalives_idle(Duration::from_secs(10));
    config.tcp_user_timeout(Duration::from_secs(15));
    if config.get_ssl_mode() == postgres::config::SslMode::Disable {
        return config.connect(NoTls);
    }
    config.connect(MakeRustlsConnect::new(crate::tls::client()))
}
