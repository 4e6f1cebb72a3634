//! How long sound is at most, by its bytes. Only formats whose bytes bound their length are known.

use super::head;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Bytes of a second of WAV at least: 8,000 samples of one byte. What its head says may be more, which would make it shorter; a
/// provider that reads it at another rate than its own must still be covered.
const WAV_BYTES_PER_SECOND: u64 = 8_000;
/// Bytes of a second of MP3 at least: the lowest rate in the standard's tables is 8 kbit/s.
const MP3_BYTES_PER_SECOND: u64 = 1_000;

/// The most seconds that this base64 holds, rounded up; `None` where its format is not known.
pub(super) fn seconds_max(base64: &str) -> Option<u64> {
    let head = head(base64);
    let per_second = match () {
        () if is_wav(&head) => WAV_BYTES_PER_SECOND,
        () if is_mp3(&head) || is_tagged_mp3(&head, base64) => MP3_BYTES_PER_SECOND,
        () => return None,
    };
    let bytes = u64::try_from(base64.len()).unwrap_or(u64::MAX) / 4 * 3 + 3;
    Some(bytes / per_second + 1)
}

/// Samples that are not compressed (whole numbers or floats), as the very first thing, of a byte each and 8,000 a second at least.
fn is_wav(head: &[u8]) -> bool {
    let two = |at: usize| Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?));
    let four = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
    head.starts_with(b"RIFF")
        && head.get(8..16) == Some(b"WAVEfmt ")
        && matches!(two(20), Some(1 | 3))
        && two(22) >= Some(1)
        && four(24) >= Some(8_000)
        && two(34) >= Some(8)
}

/// A frame of layer III with a rate from the table.
fn is_mp3(head: &[u8]) -> bool {
    let [0xff, second, third, ..] = head else {
        return false;
    };
    let version = second >> 3 & 0b11;
    let layer = second >> 1 & 0b11;
    let rate = third >> 4;
    second >> 5 == 0b111 && version != 0b01 && layer == 0b01 && !matches!(rate, 0 | 15)
}

/// The same behind an ID3 tag, whose length is in its head.
fn is_tagged_mp3(head: &[u8], base64: &str) -> bool {
    let (b"ID3", Some(size)) = (head.get(..3).unwrap_or_default(), head.get(6..10)) else {
        return false;
    };
    let size = size
        .iter()
        .fold(0_usize, |n, b| n << 7 | usize::from(b & 0x7f));
    let at = size + 10;
    let (from, skip) = (at / 3 * 4, at % 3);
    let Some(digits) = base64.as_bytes().get(from..from + 8) else {
        return false;
    };
    let frame = STANDARD.decode(digits).unwrap_or_default();
    frame.get(skip..).is_some_and(is_mp3)
}
