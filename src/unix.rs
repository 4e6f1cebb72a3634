//! Unix sockets as addresses: `unix:PATH` as people write it, and the form in which such an address stands in a URL, whose host cannot hold
//! a slash.

use http::Uri;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The scheme of such a URL.
pub const SCHEME: &str = "unix";
/// The longest path that the system takes, its closing zero not counted: 107 bytes on Linux, 103 on macOS and the BSDs.
pub const PATH_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The path of an address that is a unix socket's: absolute, and short enough for the system.
///
/// # Errors
/// What is wrong with it.
pub fn path(text: &str) -> Option<Result<PathBuf, String>> {
    let path = text.strip_prefix("unix:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    Some(match path {
        _ if !cfg!(unix) => Err("this system has no unix sockets".to_owned()),
        _ if !path.starts_with('/') || path.ends_with('/') => {
            Err("write unix: and an absolute path, for example unix:/run/flyball.sock".to_owned())
        }
        _ if path.len() > PATH_MAX => Err(format!(
            "the path of a unix socket has at most {PATH_MAX} bytes, this one {}",
            path.len()
        )),
        _ => Ok(PathBuf::from(path)),
    })
}

/// The address as a URL without a path: the socket's path in hexadecimal digits as its host.
#[must_use]
pub fn url(path: &Path) -> String {
    let mut url = format!("{SCHEME}://");
    for byte in path.as_os_str().as_encoded_bytes() {
        // Writing to memory does not fail.
        let _ = write!(url, "{byte:02x}");
    }
    url
}

/// The path of the socket that the host of such a URL stands for.
#[must_use]
pub fn socket(host: &str) -> Option<PathBuf> {
    let digits = host.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.map(byte).collect();
    String::from_utf8(bytes?).ok().map(PathBuf::from)
}

/// A URL as people write it: one of a unix socket with its path.
#[must_use]
pub fn shown(url: &str) -> String {
    let uri: Option<Uri> = url.parse().ok();
    let path = uri
        .as_ref()
        .filter(|uri| uri.scheme_str() == Some(SCHEME))
        .and_then(|uri| Some((socket(uri.host()?)?, uri.path())));
    match path {
        Some((socket, path)) => format!("unix:{}:{path}", socket.display()),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_goes_through_a_url_and_comes_back() {
        let path = path("unix:/run/a b/ü.sock").expect("it is one");
        let path = path.expect("it is a good one");
        let url = url(&path);
        let uri: Uri = format!("{url}/v1/chat").parse().expect("an address");
        assert_eq!(uri.scheme_str(), Some(SCHEME));
        assert_eq!(socket(uri.host().expect("a host")), Some(path));
        let shown = shown(&format!("{url}/v1/chat"));
        assert_eq!(shown, "unix:/run/a b/ü.sock:/v1/chat");
    }

    #[test]
    fn what_is_no_absolute_path_or_too_long_is_refused() {
        let long = format!("unix:/{}", "x".repeat(PATH_MAX));
        for wrong in ["unix:", "unix:run/a.sock", "unix:/run/", &long] {
            assert!(path(wrong).is_some_and(|p| p.is_err()), "{wrong}");
        }
        assert_eq!(path("127.0.0.1:80"), None);
        assert_eq!(shown("http://127.0.0.1/v1"), "http://127.0.0.1/v1");
    }
}
