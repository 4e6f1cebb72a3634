//! How long an MP3 is: its frames, one behind the other to the very end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

/// Frames that are looked at, two hours and more of music. A longer file is not taken for an MP3.
const FRAMES_MAX: u32 = 400_000;
/// Bytes of the tag at the end of older files, which begins with `TAG`.
const OLD_TAG_BYTES: usize = 128;
/// kbit/s by a frame's rate index, from 1 on: MPEG 1, and MPEG 2 and 2.5.
const KBITS: [[u64; 14]; 2] = [
    [
        32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
    ],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
/// Samples a second of MPEG 1; MPEG 2 has half, MPEG 2.5 a quarter.
const RATES: [u64; 3] = [44_100, 48_000, 32_000];

/// The seconds of an MP3 in base64, rounded up. `None` where any of it is something else than frames of one version and rate and
/// their tags: a reader might take it for another format, or find more in it.
pub(super) fn seconds(base64: &str) -> Option<u64> {
    let file = File::of(base64)?;
    let mut at = file.tag_bytes()?;
    let (mut samples, mut rate, mut frames) = (0_u64, None, 0_u32);
    while at < file.bytes && !file.ends_in_tag(at) {
        let frame = Frame::read(&file.four(at)?)?;
        frames += 1;
        if frames > FRAMES_MAX || rate.is_some_and(|r| r != frame.rate) {
            return None;
        }
        rate = Some(frame.rate);
        samples += frame.samples;
        at += frame.bytes;
    }
    Some(samples.div_ceil(rate?))
}

/// Bytes that are decoded only where they are looked at.
struct File<'a> {
    digits: Cow<'a, str>,
    bytes: usize,
}

impl File<'_> {
    fn of(base64: &str) -> Option<File<'_>> {
        let digits = match base64.contains('\\') {
            true => Cow::Owned(base64.replace("\\/", "/")),
            false => Cow::Borrowed(base64),
        };
        let padding = digits.bytes().rev().take_while(|b| *b == b'=').count();
        let whole = digits.len().is_multiple_of(4) && padding <= 2;
        let bytes = (digits.len() / 4 * 3).checked_sub(padding)?;
        whole.then_some(File { digits, bytes })
    }

    /// Four bytes from here on.
    fn four(&self, at: usize) -> Option<[u8; 4]> {
        let (from, skip) = (at / 3 * 4, at % 3);
        let to = (from + 8).min(self.digits.len());
        let decoded = STANDARD.decode(self.digits.get(from..to)?).ok()?;
        decoded.get(skip..skip + 4)?.try_into().ok()
    }

    /// The length of an ID3 tag at the beginning; 0 where there is none. One with a footer is not read: readers differ.
    fn tag_bytes(&self) -> Option<usize> {
        let [b'I', b'D', b'3', _] = self.four(0)? else {
            return Some(0);
        };
        let [_, flags, ..] = self.four(4)?;
        let size = self.four(6)?;
        let usual = flags & 0x1f == 0 && size.iter().all(|b| *b < 0x80);
        let size = size.iter().fold(0, |n, b| n << 7 | usize::from(*b));
        usual.then_some(size + 10)
    }

    fn ends_in_tag(&self, at: usize) -> bool {
        let tag = self.bytes - at == OLD_TAG_BYTES;
        tag && self.four(at).is_some_and(|four| four.starts_with(b"TAG"))
    }
}

/// What the head of a frame of layer III says.
struct Frame {
    /// Its version's samples a second.
    rate: u64,
    samples: u64,
    bytes: usize,
}

impl Frame {
    fn read(head: &[u8; 4]) -> Option<Frame> {
        let [0xff, second, third, _] = *head else {
            return None;
        };
        // A quarter, half or all of the rate; 1 is no version.
        let (first, slower) = match second >> 3 & 0b11 {
            0b11 => (true, 1),
            0b10 => (false, 2),
            0b00 => (false, 4),
            _ => return None,
        };
        if second >> 5 != 0b111 || second >> 1 & 0b11 != 0b01 {
            return None;
        }
        let index = usize::from(third >> 4).checked_sub(1)?;
        let kbits = KBITS[usize::from(!first)].get(index)?;
        let rate = RATES.get(usize::from(third >> 2 & 0b11))? / slower;
        let samples = if first { 1_152 } else { 576 };
        let bytes = samples / 8 * kbits * 1_000 / rate + u64::from(third >> 1 & 1);
        Some(Frame {
            rate,
            samples,
            bytes: usize::try_from(bytes).ok()?,
        })
    }
}
