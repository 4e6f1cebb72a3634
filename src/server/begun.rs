//! A connection of which the first bytes have been looked at, and are read again by whoever serves it.

use super::proxied;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What a client says first where it speaks HTTP/2 without having agreed on it (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a head of the PROXY protocol that are read at a time; most are shorter.
const PASSED_ON_STEP: usize = 256;

/// A socket with what was read of it already.
#[derive(Debug)]
pub(super) struct Begun<S> {
    socket: S,
    first: Vec<u8>,
}

impl<S> Begun<S> {
    pub(super) fn new(socket: S) -> Begun<S> {
        Begun {
            socket,
            first: Vec::new(),
        }
    }
}

impl<S: AsyncRead + Unpin> Begun<S> {
    /// Whether the client speaks HTTP/2: it says so in its first bytes, of which no more are waited for than tell the two apart.
    pub(super) async fn speaks_http2(&mut self) -> io::Result<bool> {
        loop {
            let known = self.first.len().min(PREFACE.len());
            if self.first[..known] != PREFACE[..known] || known == PREFACE.len() {
                return Ok(known == PREFACE.len() && self.first.starts_with(PREFACE));
            }
            if self.read_more(PREFACE.len() - known).await? == 0 {
                return Ok(false);
            }
        }
    }

    /// Whose connection it is, by the head of the PROXY protocol with which it begins.
    pub(super) async fn passed_on(&mut self) -> io::Result<Option<SocketAddr>> {
        let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
        loop {
            if let Some((length, address)) = proxied::head(&self.first).map_err(wrong)? {
                drop(self.first.drain(..length));
                return Ok(address);
            }
            if self.read_more(PASSED_ON_STEP).await? == 0 {
                return Err(wrong("it ended within the head of the PROXY protocol"));
            }
        }
    }

    /// Reads up to so many bytes more, and tells how many came.
    async fn read_more(&mut self, most: usize) -> io::Result<usize> {
        (&mut self.socket)
            .take(most as u64)
            .read_buf(&mut self.first)
            .await
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buffer);
        }
        let some = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..some]);
        match some == self.first.len() {
            true => self.first = Vec::new(),
            false => drop(self.first.drain(..some)),
        }
        // What has come since belongs to them, most likely; an error or the end of it is told when it is read next.
        if buffer.remaining() > 0 {
            let _ = Pin::new(&mut self.socket).poll_read(cx, buffer);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn http2_is_told_by_its_first_bytes_however_they_are_cut_and_nothing_is_lost() {
        let get: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
        let near: &[u8] = b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n";
        let longer = [PREFACE, b"more"].concat();
        for (said, http2) in [
            (get, false),
            (b"PRI", false),
            (b"", false),
            (b"PUT / HTTP/1.1\r\n\r\n", false),
            (near, false),
            (PREFACE, true),
            (&longer, true),
        ] {
            for at in 0..=said.len() {
                let (mut client, server) = tokio::io::duplex(1024);
                let (one, two) = said.split_at(at);
                let says = async {
                    client.write_all(one).await.expect("it is taken");
                    tokio::task::yield_now().await;
                    client.write_all(two).await.expect("it is taken");
                    drop(client);
                };
                let hears = async {
                    let mut begun = Begun::new(server);
                    let speaks = begun.speaks_http2().await.expect("it can be read");
                    let mut all = Vec::new();
                    begun.read_to_end(&mut all).await.expect("it can be read");
                    (speaks, all)
                };
                let ((), heard) = tokio::join!(says, hears);
                assert_eq!(heard, (http2, said.to_vec()), "cut at {at}");
            }
        }
    }
    use tokio::io::AsyncWriteExt;
}
