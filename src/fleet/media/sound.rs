//! How long sound is at most, by its bytes. Only formats whose bytes bound their length are known.

use super::{head, mp3};

/// Bytes of a second of WAV at least: 8,000 samples of one byte. What its head says may be more, which would make it shorter; a
/// provider that reads it at another rate than its own must still be covered.
const WAV_BYTES_PER_SECOND: u64 = 8_000;

/// The most seconds that this base64 holds, rounded up; `None` where its format is not known.
pub(super) fn seconds_max(base64: &str) -> Option<u64> {
    if !is_wav(&head(base64)) {
        return mp3::seconds(base64);
    }
    let bytes = u64::try_from(base64.len()).unwrap_or(u64::MAX) / 4 * 3 + 3;
    Some(bytes / WAV_BYTES_PER_SECOND + 1)
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
