//! The body of a provider's answer, unpacked where the provider has compressed it in spite of `accept-encoding: identity`.
//!
//! What nobody unpacks cannot be metered, filtered or translated. Unpacking is bounded: a small body may be made to swell to any size.

use super::pool::Wire;
use bytes::Bytes;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http_body::{Body, Frame, SizeHint};
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Packed bytes that are unpacked at a time. Deflate makes at most 1,032 bytes of one, so that this becomes about 1 MiB at most.
const STEP: usize = 1024;
/// Unpacked bytes of one streamed answer, at most: 128,000 tokens in events of their own are about 32 MB.
const UNPACKED_MAX: usize = 256 * 1024 * 1024;

/// How a body is compressed. Nothing else (`br`, `zstd`, several codings) can be read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`, also under its old name `x-gzip` (RFC 9110, 8.4.1.3).
    Gzip,
    /// `deflate`: zlib's format, or, from some servers, the same without zlib's head (RFC 9110, 8.4.1.2).
    Deflate,
}

impl Coding {
    /// The coding of this name in a `content-encoding`.
    #[must_use]
    pub fn named(name: &str) -> Option<Coding> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match () {
            () if is("gzip") || is("x-gzip") => Some(Coding::Gzip),
            () if is("deflate") => Some(Coding::Deflate),
            () => None,
        }
    }

    /// Its name in an `accept-encoding`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
        }
    }

    /// What `packed` holds, if that is no more than `most` bytes and whole.
    #[must_use]
    pub fn unpack(self, packed: &[u8], most: usize) -> Option<Bytes> {
        let mut unpacker = Unpacker::new(self);
        let mut whole = Vec::new();
        for piece in packed.chunks(STEP) {
            whole.extend_from_slice(&unpacker.feed(piece).ok()?);
            if whole.len() > most {
                return None;
            }
        }
        whole.extend_from_slice(&unpacker.finish().ok()?);
        (whole.len() <= most).then(|| Bytes::from(whole))
    }
}

/// The body of a provider's answer on its way in.
#[derive(Debug)]
pub struct In {
    body: Wire,
    /// It has been read to its end.
    read: bool,
    packed: Option<Box<Packed>>,
}

#[derive(Debug)]
struct Packed {
    unpacker: Unpacker,
    /// Bytes that have come and are still to be unpacked.
    waiting: Bytes,
    /// How many were unpacked so far.
    unpacked: usize,
    finished: bool,
}

impl Drop for In {
    fn drop(&mut self) {
        self.body.over(self.read);
    }
}

impl In {
    pub(super) fn new(body: Wire) -> In {
        In {
            body,
            read: false,
            packed: None,
        }
    }

    /// Unpacks what comes, after `first` bytes that were read already.
    #[must_use]
    pub fn unpacked(mut self, coding: Coding, first: Bytes) -> In {
        let packed = Packed {
            unpacker: Unpacker::new(coding),
            waiting: first,
            unpacked: 0,
            finished: false,
        };
        self.packed = Some(Box::new(packed));
        self
    }
}

impl Packed {
    /// The next bytes of what has come; empty where there are none.
    fn next(&mut self) -> io::Result<Bytes> {
        while !self.waiting.is_empty() {
            let piece = self.waiting.split_to(STEP.min(self.waiting.len()));
            let out = self.unpacker.feed(&piece)?;
            if !out.is_empty() {
                return self.counted(out);
            }
        }
        Ok(Bytes::new())
    }

    fn counted(&mut self, out: Vec<u8>) -> io::Result<Bytes> {
        self.unpacked += out.len();
        match self.unpacked > UNPACKED_MAX {
            true => Err(io::Error::other("the compressed answer is too long")),
            false => Ok(Bytes::from(out)),
        }
    }
}

impl Body for In {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let inward = self.get_mut();
        loop {
            if let Some(packed) = &mut inward.packed {
                let out = packed.next()?;
                if !out.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(out))));
                }
            }
            let frame = ready!(inward.body.poll_frame(cx));
            inward.read |= frame.is_none();
            let frame = frame.transpose()?;
            match (&mut inward.packed, frame) {
                (None, frame) => return Poll::Ready(frame.map(Ok)),
                (Some(packed), Some(frame)) => match frame.into_data() {
                    Ok(data) => packed.waiting = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                (Some(packed), None) if packed.finished => return Poll::Ready(None),
                (Some(packed), None) => {
                    packed.finished = true;
                    let out = packed.unpacker.finish()?;
                    let out = packed.counted(out)?;
                    return Poll::Ready((!out.is_empty()).then(|| Ok(Frame::data(out))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.packed.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.packed {
            None => self.body.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}

/// Unpacks piece by piece.
#[derive(Debug)]
enum Unpacker {
    Gzip(MultiGzDecoder<Vec<u8>>),
    /// Which of the two it is shows in its first byte.
    Deflate,
    Zlib(ZlibDecoder<Vec<u8>>),
    Bare(DeflateDecoder<Vec<u8>>),
}

impl Unpacker {
    fn new(coding: Coding) -> Unpacker {
        match coding {
            Coding::Gzip => Unpacker::Gzip(MultiGzDecoder::new(Vec::new())),
            Coding::Deflate => Unpacker::Deflate,
        }
    }

    /// What can be read of it so far.
    fn feed(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
        if let (Unpacker::Deflate, Some(first)) = (&self, piece.first()) {
            // zlib's head names the method, 8, in its low four bits and a window of at most 2^15 in its high ones (RFC 1950, 2.2).
            // A bare deflate block of these bits would be one without compression, whose padding servers set to zero.
            *self = match first & 0x0f == 8 && first >> 4 <= 7 {
                true => Unpacker::Zlib(ZlibDecoder::new(Vec::new())),
                false => Unpacker::Bare(DeflateDecoder::new(Vec::new())),
            };
        }
        match self {
            Unpacker::Gzip(d) => {
                d.write_all(piece)?;
                d.flush()?;
                Ok(std::mem::take(d.get_mut()))
            }
            Unpacker::Deflate => Ok(Vec::new()),
            Unpacker::Zlib(d) => {
                d.write_all(piece)?;
                d.flush()?;
                Ok(std::mem::take(d.get_mut()))
            }
            Unpacker::Bare(d) => {
                d.write_all(piece)?;
                d.flush()?;
                Ok(std::mem::take(d.get_mut()))
            }
        }
    }

    /// The rest, if it was whole.
    fn finish(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Unpacker::Gzip(d) => {
                d.try_finish()?;
                Ok(std::mem::take(d.get_mut()))
            }
            Unpacker::Deflate => Ok(Vec::new()),
            Unpacker::Zlib(d) => {
                d.try_finish()?;
                Ok(std::mem::take(d.get_mut()))
            }
            Unpacker::Bare(d) => {
                d.try_finish()?;
                Ok(std::mem::take(d.get_mut()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    fn packed(text: &[u8]) -> [(Coding, Vec<u8>); 3] {
        let fast = Compression::fast();
        let mut gzip = GzEncoder::new(Vec::new(), fast);
        let mut zlib = ZlibEncoder::new(Vec::new(), fast);
        let mut bare = DeflateEncoder::new(Vec::new(), fast);
        for writer in [&mut gzip as &mut dyn Write, &mut zlib, &mut bare] {
            writer.write_all(text).expect("memory takes it");
        }
        [
            (Coding::Gzip, gzip.finish().expect("memory takes it")),
            (Coding::Deflate, zlib.finish().expect("memory takes it")),
            (Coding::Deflate, bare.finish().expect("memory takes it")),
        ]
    }

    #[test]
    fn every_form_is_unpacked_however_it_is_cut() {
        let text = b"data: {\"a\":1}\n\n".repeat(9);
        for (coding, packed) in packed(&text) {
            for at in 0..=packed.len() {
                let mut unpacker = Unpacker::new(coding);
                let mut out = unpacker.feed(&packed[..at]).expect("it is right so far");
                out.extend(unpacker.feed(&packed[at..]).expect("it is right"));
                out.extend(unpacker.finish().expect("it is whole"));
                assert_eq!(out, text, "{coding:?} cut at {at}");
            }
        }
    }

    #[test]
    fn what_is_cut_or_swells_beyond_measure_is_not_unpacked() {
        for (coding, packed) in packed(&vec![b' '; 9_000_000]) {
            assert!(packed.len() < 100_000, "it is small as it comes");
            assert_eq!(coding.unpack(&packed, 1_000_000), None, "{coding:?}");
            assert!(coding.unpack(&packed, 9_000_000).is_some());
            let cut = &packed[..packed.len() / 2];
            assert_eq!(coding.unpack(cut, 9_000_000), None, "{coding:?}, cut");
        }
    }
}
