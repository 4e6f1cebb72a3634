//! Where flyball listens and where it keeps its data.

use super::Reading;
use crate::reader::{Complaint, Table};
use crate::server::address::Address;
use crate::server::listener::{self, Terms};
use crate::server::proxied::Trusted;
use crate::unix;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// One listener: its key in the file, its flag, its usual address.
pub(super) struct Listener {
    key: &'static str,
    flag: &'static str,
    usual: SocketAddr,
}

/// The traffic listener.
pub(super) const TRAFFIC: Listener = Listener {
    key: "listen",
    flag: "--listen",
    usual: loopback(8484),
};

/// The admin listener.
pub(super) const ADMIN: Listener = Listener {
    key: "admin_listen",
    flag: "--admin-listen",
    usual: loopback(8485),
};

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// A listener's address: the flag's, the file's or the usual one. `None` only after a complaint.
pub(super) fn listener(
    reading: &Reading<'_>,
    top: &Table<'_>,
    listener: &Listener,
    asked: Option<&str>,
) -> Option<Address> {
    let Listener { key, flag, usual } = *listener;
    let written = top.text(key);
    let Some(text) = asked.or(written) else {
        return (!top.has(key)).then_some(Address::Tcp(usual));
    };
    let address = match unix::path(text) {
        Some(path) => path.and_then(with_room).map(Address::Unix),
        None => parse(text)
            .map(Address::Tcp)
            .ok_or_else(|| format!("write IP:PORT, for example {usual}, or unix:PATH")),
    };
    if let Err(help) = &address {
        let help = help.clone();
        let wrong = format!("\"{text}\" is not an address");
        match asked {
            Some(_) => reading.complain(Complaint::whole(flag, wrong).help(help)),
            None => top.complain(key, format_args!("{key}: {wrong}"), Some(help)),
        }
    }
    address.ok()
}

/// A socket has another name in its folder before it gets its own, for which there must be room too.
fn with_room(path: PathBuf) -> Result<PathBuf, String> {
    let first = path.with_file_name("x".repeat(listener::FIRST_NAME));
    if first.as_os_str().len() <= unix::PATH_MAX {
        return Ok(path);
    }
    Err(format!(
        "the path of the folder of a socket on which flyball listens has at most {} bytes",
        unix::PATH_MAX - listener::FIRST_NAME - 1
    ))
}

/// How sockets are made.
pub(super) fn sockets(top: &Table<'_>) -> Terms {
    let usual = 0o600;
    let mode = match top.text("socket_mode") {
        None => usual,
        Some(text) => {
            let mode = u32::from_str_radix(text.trim_start_matches("0o"), 8).ok();
            let mode = mode.filter(|mode| *mode <= 0o777 && mode & 0o600 == 0o600);
            if mode.is_none() {
                let wrong = format!("socket_mode: \"{text}\" is not the mode of a socket");
                let help = "write three octal digits that leave its owner reading and writing, for example \"0660\"";
                top.complain("socket_mode", wrong, Some(help.to_owned()));
            }
            mode.unwrap_or(usual)
        }
    };
    let reuse_port = top.flag("reuse_port").unwrap_or(false);
    if reuse_port && !cfg!(unix) {
        let text = "reuse_port: this system does not share a port between processes";
        top.complain("reuse_port", text, None);
    }
    Terms { mode, reuse_port }
}

/// The load balancers that may say whose connections they pass on.
pub(super) fn proxied(top: &Table<'_>) -> Option<Arc<Trusted>> {
    let on = top.flag("proxy_protocol").unwrap_or(false);
    let mut trusted = Trusted::default();
    let words = top.words("proxy_trusted");
    for word in words.iter().flatten() {
        if let Err(wrong) = trusted.add(&word.text) {
            let help = "write addresses or ranges like \"10.0.0.0/8\", or \"unix\"";
            let text = format!("proxy_trusted: {wrong}");
            top.complain("proxy_trusted", text, Some(help.to_owned()));
        }
    }
    // One that is no list is told of already.
    let told = words.is_none() && top.has("proxy_trusted");
    let named = told || words.is_some_and(|words| !words.is_empty());
    match (on, named) {
        (true, false) => {
            let text =
                "proxy_protocol needs proxy_trusted: else whoever connects could claim any address";
            let help = "write proxy_trusted = [\"10.0.0.0/8\"], the load balancers' addresses";
            top.complain("proxy_protocol", text, Some(help.to_owned()));
        }
        (false, true) => {
            let text = "proxy_trusted says nothing without proxy_protocol";
            let help = "write proxy_protocol = true, or remove it";
            top.complain("proxy_trusted", text, Some(help.to_owned()));
        }
        _ => {}
    }
    on.then(|| Arc::new(trusted))
}

/// `localhost` is the one name that needs no look-up.
fn parse(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(loopback(port.parse().ok()?)),
        None => text.parse().ok(),
    }
}

/// The data folder: the flag's, the file's or the usual one. `None` only after a complaint.
pub(super) fn data_dir(reading: &Reading<'_>, top: &Table<'_>) -> Option<PathBuf> {
    let written = top.text("data_dir").map(|text| reading.path(text));
    let usual = || {
        let folder = usual_data_dir(std::env::consts::OS, reading.around.env);
        if folder.is_none() {
            let text = "no home folder is known to keep the ledger in";
            reading.complain(Complaint::whole("--data-dir", text).help("name a folder"));
        }
        folder
    };
    let asked = reading.overrides.data_dir.clone();
    asked.or(written).or_else(usual)
}

/// The platform's folder for a user's data, with `flyball` in it.
fn usual_data_dir(os: &str, env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let folder = |name: &str| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let data = match os {
        "windows" => folder("LOCALAPPDATA")?,
        "macos" => folder("HOME")?.join("Library/Application Support"),
        // The XDG specification: a relative path is invalid and to be ignored.
        _ => match folder("XDG_DATA_HOME").filter(|path| path.is_absolute()) {
            Some(folder) => folder,
            None => folder("HOME")?.join(".local/share"),
        },
    };
    Some(data.join("flyball"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_platform_has_its_own_data_folder() {
        let linux = "/home/a/.local/share/flyball";
        let mac = "/home/a/Library/Application Support/flyball";
        type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<&'a str>);
        let table: [Row<'_>; 6] = [
            ("linux", &[("HOME", "/home/a")], Some(linux)),
            (
                "linux",
                &[("HOME", "/home/a"), ("XDG_DATA_HOME", "/data")],
                Some("/data/flyball"),
            ),
            (
                "linux",
                &[("HOME", "/home/a"), ("XDG_DATA_HOME", "data")],
                Some(linux),
            ),
            ("macos", &[("HOME", "/home/a")], Some(mac)),
            ("windows", &[("LOCALAPPDATA", "/l")], Some("/l/flyball")),
            ("linux", &[("HOME", "")], None),
        ];
        for (os, variables, folder) in table {
            let env = |name: &str| {
                let found = variables.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let expected = folder.map(PathBuf::from);
            assert_eq!(usual_data_dir(os, &env), expected, "{os} {variables:?}");
        }
    }

    #[test]
    fn an_address_is_an_ip_or_localhost_with_a_port() {
        for (text, address) in [
            ("127.0.0.1:1", Some("127.0.0.1:1")),
            ("[::1]:8484", Some("[::1]:8484")),
            ("localhost:80", Some("127.0.0.1:80")),
            ("8484", None),
            (":8484", None),
            ("example.org:80", None),
            ("127.0.0.1:70000", None),
        ] {
            let expected = address.map(|a| a.parse().expect("an address"));
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
