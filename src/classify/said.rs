//! Whether a short text has a word, in any of ten languages. For sentences, not for documents.

use super::letters::unspaced;
use std::sync::OnceLock;

/// Words to look for: `word` is a whole word, `word*` begins one, `two words` begins with one; what is written without spaces, or in
/// Arabic, is a piece of the text.
pub(super) struct Words {
    entries: &'static [&'static str],
    index: OnceLock<Index>,
}

/// The entries by how they begin, so that most words of a text are compared with none of them.
struct Index {
    /// One bit for each way to begin; two ways may share one.
    begins: [u64; BEGINNINGS / 64],
    /// What begins with a word, sorted by how it begins.
    spaced: Vec<(u16, &'static str)>,
    /// What is looked for anywhere in a text.
    pieces: Vec<&'static str>,
}

/// Bits that tell ways to begin apart.
const BEGINNINGS: usize = 1_024;

/// How a word begins: its first two bytes.
fn beginning(word: &str) -> u16 {
    let byte = |at: usize| word.as_bytes().get(at).copied().unwrap_or_default();
    u16::from_be_bytes([byte(0), byte(1)])
}

/// The place and the bit of a way to begin.
fn bit_of(beginning: u16) -> (usize, u64) {
    let bit = usize::from(beginning ^ (beginning >> 5)) % BEGINNINGS;
    (bit / 64, 1 << (bit % 64))
}

impl Words {
    pub(super) const fn of(entries: &'static [&'static str]) -> Words {
        Words {
            entries,
            index: OnceLock::new(),
        }
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let entries = self.entries.iter().copied();
            let (pieces, spaced): (Vec<_>, Vec<_>) =
                entries.partition(|entry| entry.starts_with(in_pieces));
            let mut spaced: Vec<_> = spaced.into_iter().map(|e| (beginning(e), e)).collect();
            spaced.sort_unstable();
            let mut begins = [0; BEGINNINGS / 64];
            for (beginning, _) in &spaced {
                let (at, bit) = bit_of(*beginning);
                begins[at] |= bit;
            }
            Index {
                begins,
                spaced,
                pieces,
            }
        })
    }
}

impl Index {
    /// The entries that begin as this does.
    fn like(&self, text: &str) -> &[(u16, &'static str)] {
        let wanted = beginning(text);
        let (at, bit) = bit_of(wanted);
        if self.begins[at] & bit == 0 {
            return &[];
        }
        let from = self.spaced.partition_point(|(other, _)| *other < wanted);
        let to = self.spaced[from..].partition_point(|(other, _)| *other == wanted);
        &self.spaced[from..from + to]
    }
}

/// A text in small letters.
pub(super) struct Said {
    text: String,
    words: Vec<(usize, usize)>,
    /// It has letters of scripts whose words are looked for as pieces.
    pieces: bool,
}

/// Letters whose words are looked for as pieces of the text.
fn in_pieces(c: char) -> bool {
    unspaced(c) || matches!(c, '\u{600}'..='\u{6FF}')
}

impl Said {
    pub(super) fn new(text: &str) -> Said {
        let text = match text.is_ascii() {
            true => text.to_ascii_lowercase(),
            false => text.to_lowercase(),
        };
        let base = text.as_ptr().addr();
        let mut found = Vec::with_capacity(text.len() / 4);
        found.extend(words(&text).map(|word| {
            let at = word.as_ptr().addr() - base;
            (at, at + word.len())
        }));
        Said {
            words: found,
            pieces: !text.is_ascii() && text.contains(in_pieces),
            text,
        }
    }

    /// Whether it has one of these.
    pub(super) fn has(&self, words: &Words) -> bool {
        let index = words.index();
        self.words
            .iter()
            .any(|(from, to)| self.begins_with_one(*from, *to, index))
            || (self.pieces && index.pieces.iter().any(|piece| self.text.contains(piece)))
    }

    /// Whether the word there, or what begins with it or inside it after a hyphen or an apostrophe, is looked for.
    fn begins_with_one(&self, from: usize, to: usize, index: &Index) -> bool {
        let word = &self.text[from..to];
        let whole = index.like(word).iter().any(|(_, entry)| {
            !entry.contains(' ')
                && match entry.strip_suffix('*') {
                    Some(stem) => word.starts_with(stem),
                    None => word == *entry,
                }
        });
        let phrase = |at: usize| {
            let text = &self.text[at..];
            let mut like = index.like(text).iter();
            like.any(|(_, entry)| entry.contains(' ') && text.starts_with(entry))
        };
        let inside = || word.match_indices(is_mark).map(|(at, mark)| from + at + mark.len());
        whole || phrase(from) || inside().any(phrase)
    }
}

/// What may stand inside a word.
fn is_mark(c: char) -> bool {
    matches!(c, '\'' | '’' | '-')
}

/// The words of a text.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let inside = |c: char| c.is_alphanumeric() || is_mark(c);
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = &rest[rest.find(inside)?..];
            let end = rest.find(|c: char| !inside(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after;
            let word = match word.starts_with(is_mark) || word.ends_with(is_mark) {
                true => word.trim_matches(is_mark),
                false => word,
            };
            if !word.is_empty() {
                return Some(word);
            }
        }
    })
}
