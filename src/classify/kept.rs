//! What was measured of an ask, as the books keep it: signals, and buckets of words by their hashes. No word can be read from it, and what
//! another flyball has measured by other signals is not read at all.

use super::letters::{FNV, FNV_PRIME};
use super::scan::Grams;
use super::{Features, signals};

/// Packs what was measured of one ask, without the asks before it.
#[must_use]
pub fn pack(features: &Features) -> Vec<u8> {
    let values = features.values();
    let mut bytes = signature().to_le_bytes().to_vec();
    let mut marks = vec![0_u8; values.len().div_ceil(8)];
    for (at, _) in values.iter().enumerate().filter(|(_, v)| **v != 0.0) {
        marks[at / 8] |= 1 << (at % 8);
    }
    bytes.extend(marks);
    for value in values.iter().filter(|v| **v != 0.0) {
        bytes.extend(value.to_le_bytes());
    }
    for list in features.grams().lists() {
        let length = u16::try_from(list.len()).unwrap_or(u16::MAX);
        bytes.extend(length.to_le_bytes());
        for id in list {
            bytes.extend(id.to_le_bytes());
        }
    }
    bytes
}

/// Reads it again; `None` where it was packed by another flyball, or is broken.
#[must_use]
pub fn unpack(bytes: &[u8]) -> Option<Features> {
    let mut bytes = Bytes(bytes);
    if u32::from_le_bytes(bytes.take()?) != signature() {
        return None;
    }
    let mut values = [0.0; signals::COUNT];
    let marks = bytes.slice(values.len().div_ceil(8))?;
    for (at, value) in values.iter_mut().enumerate() {
        if marks[at / 8] >> (at % 8) & 1 == 1 {
            *value = f32::from_le_bytes(bytes.take()?);
        }
    }
    let mut lists: [Vec<u16>; 3] = Default::default();
    for list in &mut lists {
        for _ in 0..u16::from_le_bytes(bytes.take()?) {
            list.push(u16::from_le_bytes(bytes.take()?));
        }
    }
    let grams = Grams::from_lists(&lists)?;
    (bytes.0.is_empty() && values.iter().all(|v| v.is_finite()))
        .then(|| Features::kept(values, grams))
}

/// A number for the signals and their order.
fn signature() -> u32 {
    let names = signals::all().flat_map(|s| s.name.bytes().chain([0]));
    let hash = names.fold(FNV, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
    });
    u32::try_from(hash >> 32).unwrap_or(u32::MAX)
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(first)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Part, Prompt, Role, Turn};
    use crate::classify::{grade, measure};

    #[test]
    fn what_is_kept_is_graded_as_before_and_what_is_broken_is_not_read() {
        for text in [
            "Prove that √2 is irrational.",
            "Translate \"the \\\"red\\\" house\" into French",
            "Wie spät ist es?",
            "",
        ] {
            let parts = vec![Part::Text(text.into())];
            let turns = vec![Turn {
                role: Role::User,
                parts,
            }];
            let features = measure(&Prompt {
                turns,
                ..Prompt::default()
            });
            let packed = pack(&features);
            assert!(packed.len() < 1_000, "{}", packed.len());
            let read = unpack(&packed).expect("readable");
            assert_eq!(
                (read.values(), read.grams()),
                (features.values(), features.grams())
            );
            if features.plain.is_none() {
                let (again, before) = (grade(&read, None), grade(&features, None));
                assert_eq!(
                    (again.gain, again.failure),
                    (before.gain, before.failure),
                    "{text}"
                );
            }
            for cut in 0..packed.len() {
                assert!(unpack(&packed[..cut]).is_none());
            }
            let mut other = packed.clone();
            other[0] ^= 1;
            assert!(unpack(&other).is_none());
            other = packed;
            other.push(0);
            assert!(unpack(&other).is_none());
        }
    }
}
