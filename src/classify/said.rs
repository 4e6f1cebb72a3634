//! Whether a short text has a word, in any of ten languages. For sentences, not for documents.

use super::letters::unspaced;
use std::sync::OnceLock;

/// Words to look for: `word` is a whole word, `word*` begins one, `two words` begins with one; what is written without spaces, or in
/// Arabic, is a piece of the text.
pub(super) struct Words {
    entries: &'static [&'static str],
    /// The first two bytes of all of them, one bit each, so that most words of a text need no comparison.
    starts: OnceLock<Box<[u64; 1_024]>>,
}

impl Words {
    pub(super) const fn of(entries: &'static [&'static str]) -> Words {
        Words {
            entries,
            starts: OnceLock::new(),
        }
    }

    fn may_begin(&self, word: &str) -> bool {
        let starts = self.starts.get_or_init(|| {
            let mut bits = Box::new([0; 1_024]);
            for entry in self.entries {
                let (at, bit) = start(entry);
                bits[at] |= bit;
            }
            bits
        });
        let (at, bit) = start(word);
        starts[at] & bit != 0
    }
}

fn start(word: &str) -> (usize, u64) {
    let byte = |at: usize| usize::from(word.as_bytes().get(at).copied().unwrap_or_default());
    (byte(0) * 4 + byte(1) / 64, 1 << (byte(1) % 64))
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
        let text = text.to_lowercase();
        let base = text.as_ptr().addr();
        let words = words(&text).map(|word| {
            let at = word.as_ptr().addr() - base;
            (at, at + word.len())
        });
        Said {
            words: words.collect(),
            pieces: text.contains(in_pieces),
            text,
        }
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(|(from, to)| &self.text[*from..*to])
    }

    /// Whether it has one of these.
    pub(super) fn has(&self, words: &Words) -> bool {
        let may = self.pieces || self.words().any(|word| words.may_begin(word));
        may && words.entries.iter().any(|entry| self.has_one(entry))
    }

    fn has_one(&self, entry: &str) -> bool {
        if entry.starts_with(in_pieces) {
            return self.text.contains(entry);
        }
        if entry.contains(' ') {
            let mut found = self.text.match_indices(entry);
            return found.any(|(at, _)| !self.text[..at].ends_with(char::is_alphanumeric));
        }
        match entry.strip_suffix('*') {
            Some(stem) => self.words().any(|word| word.starts_with(stem)),
            None => self.words().any(|word| word == entry),
        }
    }
}

/// The words of a text.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '’' | '-');
    text.split(move |c: char| !inside(c))
        .map(|word| word.trim_matches(['\'', '’', '-']))
        .filter(|word| !word.is_empty())
}
