//! Sockets that listen: those that flyball makes, and those that whoever started it hands over.

use super::address::Address;
use crate::error::{Error, Kind};
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// What the system keeps of an answer that its client has not taken yet, in bytes. By itself it would keep up to 4 MiB for each client
/// that does not read, and everything that it takes has been read and metered, which costs memory too. Enough for 1 MB a second at
/// the far side of the earth, which no stream of words comes near.
const SEND_BUFFER: u32 = 128 * 1024;
/// Connections that wait to be accepted; Linux takes no more than 4,096 by default, and the standard library asks for as many.
const BACKLOG: u32 = 4096;
/// How long the name is that a unix socket has in its folder before it gets its own.
pub const FIRST_NAME: usize = 7;

/// How sockets are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Who may connect to a unix socket, as for a file.
    pub mode: u32,
    /// Another flyball may listen on the same address, and takes over from this one.
    pub reuse_port: bool,
}

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// On an address of the network.
    Tcp(TcpListener),
    /// On a unix socket.
    #[cfg(unix)]
    Unix(UnixListener, Option<Own>),
}

/// An address that is kept for a socket, which does not listen yet.
#[derive(Debug)]
pub enum Reserved {
    /// Of the network.
    Tcp(TcpSocket),
    /// A unix socket takes its path only when it listens.
    Unix(Address),
    /// It was handed over.
    Open(Listener),
}

/// The file of a unix socket, which goes with it.
#[cfg(unix)]
#[derive(Debug)]
pub struct Own {
    path: PathBuf,
    file: (u64, u64),
}

/// Sockets that were handed over by whoever started this process.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For traffic.
    pub traffic: Option<Listener>,
    /// For the admin listener.
    pub admin: Option<Listener>,
}

/// Keeps an address. A busy one is an error that names the flag, never another one in silence.
///
/// # Errors
/// It cannot be had.
pub fn reserve(address: &Address, terms: Terms, flag: &str) -> Result<Reserved, Error> {
    match address {
        Address::Unix(_) => Ok(Reserved::Unix(address.clone())),
        Address::Tcp(tcp) => bound(*tcp, terms)
            .map(Reserved::Tcp)
            .map_err(|e| cannot(address, &e, flag)),
    }
}

fn cannot(address: &Address, error: &io::Error, flag: &str) -> Error {
    let advice = match error.kind() {
        ErrorKind::AddrInUse => format!(
            "another program uses {address}; stop it, or choose another address with {flag}"
        ),
        _ => format!("cannot listen on {address}: {error}; choose another address with {flag}"),
    };
    Error::new(Kind::Internal, "cannot listen").detail(advice)
}

fn bound(address: SocketAddr, terms: Terms) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As the standard library does: else a restart would have to wait for old connections. On Windows it would share the port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    #[cfg(unix)]
    socket.set_reuseport(terms.reuse_port)?;
    #[cfg(not(unix))]
    let _ = terms;
    // Connections inherit it from the listener.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Reserved {
    /// The address, with the port that was given where none was asked for.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Reserved::Tcp(socket) => socket.local_addr().map(Address::Tcp),
            Reserved::Unix(address) => Ok(address.clone()),
            Reserved::Open(listener) => listener.address(),
        }
    }

    /// From now on connections wait to be accepted. The path of a flyball that this one `follows`, and that listens there still, is taken
    /// from it.
    ///
    /// # Errors
    /// It cannot listen; says so with the flag.
    pub fn listen(self, terms: Terms, follows: bool, flag: &str) -> Result<Listener, Error> {
        let listening = match self {
            Reserved::Open(listener) => return Ok(listener),
            Reserved::Tcp(socket) => {
                let address = socket.local_addr().map(Address::Tcp);
                let listening = socket.listen(BACKLOG).map(Listener::Tcp);
                (address, listening)
            }
            Reserved::Unix(address) => {
                let listening = on_path(&address, terms.mode, follows);
                (Ok(address), listening)
            }
        };
        let (address, listening) = listening;
        let told = |error| match &address {
            Ok(address) => cannot(address, &error, flag),
            Err(_) => Error::new(Kind::Internal, "cannot listen").detail(error.to_string()),
        };
        listening.map_err(told)
    }
}

#[cfg(not(unix))]
fn on_path(_: &Address, _: u32, _: bool) -> io::Result<Listener> {
    Err(io::Error::other("this system has no unix sockets"))
}

/// Listens on a path. A socket there on which nobody listens any more is replaced, and so is that of a flyball that this one follows;
/// anything else stays. The socket gets its name only when nobody can connect to it who must not.
#[cfg(unix)]
fn on_path(address: &Address, mode: u32, follows: bool) -> io::Result<Listener> {
    use std::os::unix::fs::MetadataExt;
    let Address::Unix(path) = address else {
        return Err(io::Error::other("it is no unix socket"));
    };
    let replaces = is_to_be_replaced(path, follows)?;
    let (listener, near) = beside(path, mode)?;
    let named = give_name(&near, path, replaces).and_then(|()| std::fs::symlink_metadata(path));
    let file = match named {
        Ok(named) => (named.dev(), named.ino()),
        Err(error) => {
            let _ = std::fs::remove_file(&near);
            return Err(error);
        }
    };
    let own = Own {
        path: path.clone(),
        file,
    };
    Ok(Listener::Unix(listener, Some(own)))
}

/// Whether there is a socket at the path that may be replaced.
#[cfg(unix)]
fn is_to_be_replaced(path: &Path, follows: bool) -> io::Result<bool> {
    use futures_util::FutureExt;
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
        Ok(there) if !there.file_type().is_socket() => {
            let text = "there is a file of that name that is no socket, which is left alone";
            return Err(io::Error::new(ErrorKind::AlreadyExists, text));
        }
        Ok(_) if follows => return Ok(true),
        Ok(_) => {}
    }
    // Without waiting: one whose backlog is full, which would take a while, is somebody's.
    match UnixSocket::new_stream()?.connect(path).now_or_never() {
        Some(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Ok(true),
        Some(Err(error)) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Err(ErrorKind::AddrInUse.into()),
    }
}

/// A socket that listens in the folder of that path, under a name that nobody had. Nobody can connect before its mode is set.
#[cfg(unix)]
fn beside(path: &Path, mode: u32) -> io::Result<(UnixListener, PathBuf)> {
    use std::os::unix::fs::PermissionsExt;
    for _ in 0..8 {
        let mut random = [0; 2];
        getrandom::fill(&mut random).map_err(|e| io::Error::other(e.to_string()))?;
        let near = path.with_file_name(format!(".fb{:04x}", u16::from_le_bytes(random)));
        let socket = UnixSocket::new_stream()?;
        match socket.bind(&near) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => continue,
            bound => bound?,
        }
        let listening = std::fs::set_permissions(&near, std::fs::Permissions::from_mode(mode))
            .and_then(|()| socket.listen(BACKLOG));
        return match listening {
            Ok(listener) => Ok((listener, near)),
            Err(error) => {
                let _ = std::fs::remove_file(&near);
                Err(error)
            }
        };
    }
    Err(io::Error::other("its folder has no room for another name"))
}

/// Gives a socket its name; where nobody had that, nobody loses it who has taken it meanwhile.
#[cfg(unix)]
fn give_name(near: &Path, path: &Path, replaces: bool) -> io::Result<()> {
    if replaces {
        return std::fs::rename(near, path);
    }
    match std::fs::hard_link(near, path) {
        Ok(()) => {
            let _ = std::fs::remove_file(near);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(ErrorKind::AddrInUse.into()),
        // Not every file system gives a socket a second name.
        Err(_) => std::fs::rename(near, path),
    }
}

#[cfg(unix)]
impl Drop for Own {
    fn drop(&mut self) {
        use std::os::unix::fs::MetadataExt;
        // Unless another one has taken the name meanwhile.
        let there = std::fs::symlink_metadata(&self.path);
        if there.is_ok_and(|there| (there.dev(), there.ino()) == self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Where it listens.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            // The system knows it by the name that it had first.
            #[cfg(unix)]
            Listener::Unix(_, Some(own)) => Ok(Address::Unix(own.path.clone())),
            #[cfg(unix)]
            Listener::Unix(listener, None) => {
                let path = listener.local_addr()?;
                let path = path.as_pathname().map(std::path::Path::to_owned);
                Ok(Address::Unix(path.unwrap_or_default()))
            }
        }
    }

    /// The next connection, with its client's address where it has one.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Small events must leave at once.
                let _ = stream.set_nodelay(true);
                Ok((Socket::Tcp(stream), Some(address)))
            }
            #[cfg(unix)]
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), None))
            }
        }
    }

    /// Every connection that waits to be accepted at this moment, and then closes: the system resets those that it has given to a listener
    /// that closes.
    pub(super) fn last(self) -> Vec<(Socket, Option<SocketAddr>)> {
        // Asked for directly: the runtime may not have heard of the latest ones.
        let mut all = Vec::new();
        match self {
            Listener::Tcp(listener) => {
                let Ok(listener) = listener.into_std() else {
                    return all;
                };
                for (stream, address) in waiting(|| listener.accept()) {
                    let _ = stream.set_nonblocking(true);
                    if let Ok(stream) = TcpStream::from_std(stream) {
                        let _ = stream.set_nodelay(true);
                        all.push((Socket::Tcp(stream), Some(address)));
                    }
                }
            }
            #[cfg(unix)]
            Listener::Unix(listener, own) => {
                let Ok(listener) = listener.into_std() else {
                    return all;
                };
                drop(own);
                for (stream, _) in waiting(|| listener.accept()) {
                    let _ = stream.set_nonblocking(true);
                    if let Ok(stream) = UnixStream::from_std(stream) {
                        all.push((Socket::Unix(stream), None));
                    }
                }
            }
        }
        all
    }
}

/// All that waits to be accepted: what has ended meanwhile hides nobody behind it, and those who come all the while do not keep it from
/// its end.
fn waiting<T>(mut accept: impl FnMut() -> io::Result<T>) -> Vec<T> {
    let mut all = Vec::new();
    for _ in 0..BACKLOG {
        match accept() {
            Ok(one) => all.push(one),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    all
}

impl Inherited {
    /// The sockets that systemd, or whoever speaks as it does, hands over (`LISTEN_FDS`): by their names `traffic` and `admin` where they
    /// have names, else the first is for traffic and the second the admin listener's.
    ///
    /// # Errors
    /// They are no sockets that listen, or more than two.
    #[cfg(unix)]
    pub fn from_environment() -> Result<Inherited, String> {
        let mut all = listenfd::ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let mut inherited = Inherited::default();
        for at in 0..all.len() {
            let name = names.get(at).copied().unwrap_or_default();
            let place = match name {
                "admin" => &mut inherited.admin,
                "traffic" => &mut inherited.traffic,
                _ if inherited.traffic.is_none() => &mut inherited.traffic,
                _ => &mut inherited.admin,
            };
            if place.is_some() {
                return Err(format!(
                    "LISTEN_FDS: {} sockets were handed over, of which flyball takes one for traffic and one for its admin listener (FileDescriptorName=traffic, =admin)",
                    all.len()
                ));
            }
            *place = Some(handed_over(&mut all, at).map_err(|error| {
                format!("LISTEN_FDS: socket {at} that was handed over cannot be used: {error}")
            })?);
        }
        Ok(inherited)
    }

    /// Nobody hands over sockets here.
    ///
    /// # Errors
    /// Never.
    #[cfg(not(unix))]
    pub fn from_environment() -> Result<Inherited, String> {
        Ok(Inherited::default())
    }

    /// None was handed over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.traffic.is_none() && self.admin.is_none()
    }
}

#[cfg(unix)]
fn handed_over(all: &mut listenfd::ListenFd, at: usize) -> io::Result<Listener> {
    match all.take_tcp_listener(at) {
        Ok(Some(listener)) => {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener).map(Listener::Tcp)
        }
        Ok(None) => Err(io::Error::other("it was taken already")),
        Err(not_tcp) => match all.take_unix_listener(at) {
            Ok(Some(listener)) => {
                listener.set_nonblocking(true)?;
                // Its file is its maker's.
                Ok(Listener::Unix(UnixListener::from_std(listener)?, None))
            }
            _ => Err(not_tcp),
        },
    }
}

/// A client's socket.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            #[cfg(unix)]
            Socket::Unix(unix) => Pin::new(unix).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            #[cfg(unix)]
            Socket::Unix(unix) => Pin::new(unix).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, pieces),
            #[cfg(unix)]
            Socket::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Socket::Tcp(tcp) => tcp.is_write_vectored(),
            #[cfg(unix)]
            Socket::Unix(unix) => unix.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            #[cfg(unix)]
            Socket::Unix(unix) => Pin::new(unix).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            #[cfg(unix)]
            Socket::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
        }
    }
}
