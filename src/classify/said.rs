//! Whether a short text has a word, in any of ten languages. For sentences, not for documents.

use super::letters::unspaced;
use aho_corasick::{AhoCorasick, AhoCorasickKind};
use std::sync::OnceLock;

/// Words to look for: `word` is a whole word, `word*` begins one, `two words` begins with one; what is written without spaces, or in
/// Arabic, is a piece of the text.
pub(super) struct WordList {
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

/// How a word, or a text that begins with one, begins: its first two bytes.
fn beginning(text: &str) -> u16 {
    let byte = |at: usize| text.as_bytes().get(at).copied().unwrap_or_default();
    match byte(1) {
        // After a word of one letter comes nothing of it.
        b' ' => u16::from_be_bytes([byte(0), 0]),
        second => u16::from_be_bytes([byte(0), second]),
    }
}

/// The place and the bit of a way to begin.
fn bit_of(beginning: u16) -> (usize, u64) {
    let bit = usize::from(beginning ^ (beginning >> 5)) % BEGINNINGS;
    (bit / 64, 1 << (bit % 64))
}

impl WordList {
    pub(super) const fn of(entries: &'static [&'static str]) -> WordList {
        WordList {
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
    /// The entries that begin so.
    fn like(&self, wanted: u16) -> &[(u16, &'static str)] {
        let (at, bit) = bit_of(wanted);
        if self.begins[at] & bit == 0 {
            return &[];
        }
        let from = self.spaced.partition_point(|(other, _)| *other < wanted);
        let to = self.spaced[from..].partition_point(|(other, _)| *other == wanted);
        &self.spaced[from..from + to]
    }
}

/// What the words of several sets begin with: where a text has none of it, nothing more needs to be known of it.
pub(super) struct Beginnings {
    sets: &'static [&'static WordList],
    found: OnceLock<AhoCorasick>,
}

impl Beginnings {
    pub(super) const fn of(sets: &'static [&'static WordList]) -> Beginnings {
        Beginnings {
            sets,
            found: OnceLock::new(),
        }
    }

    /// The sets.
    pub(super) fn sets(&self) -> impl Iterator<Item = &'static WordList> {
        self.sets.iter().copied()
    }

    /// Whether a text may have one of the words. Only texts of ASCII are looked at; others may have any.
    pub(super) fn may_be_in(&self, text: &str) -> bool {
        !text.is_ascii() || self.found.get_or_init(|| self.finder()).is_match(text)
    }

    fn finder(&self) -> AhoCorasick {
        let entries = self.sets.iter().flat_map(|set| set.entries);
        let stems = entries.map(|entry| entry.strip_suffix('*').unwrap_or(entry));
        AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            // A few hundred bytes are read sooner than what would look ahead is made ready.
            .prefilter(false)
            .build(stems.filter(|stem| stem.is_ascii()))
            .expect("a few short words make a small automaton")
    }
}

/// A text in small letters.
pub(super) struct Said {
    text: String,
    starts: Vec<Start>,
    /// It has letters of scripts whose words are looked for as pieces.
    pieces: bool,
}

/// Where a word begins, or what follows a hyphen or an apostrophe inside one.
struct Start {
    from: usize,
    to: usize,
    begins: u16,
    /// It is the whole word.
    whole: bool,
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
        let mut starts = Vec::with_capacity(text.len() / 4);
        for word in words(&text) {
            let from = word.as_ptr().addr() - base;
            let inside = word.match_indices(is_mark);
            let after_marks = inside.map(|(at, mark)| from + at + mark.len());
            starts.push(Start::new(&text, from, from + word.len(), true));
            starts.extend(after_marks.map(|at| Start::new(&text, at, from + word.len(), false)));
        }
        Said {
            pieces: !text.is_ascii() && text.contains(in_pieces),
            starts,
            text,
        }
    }

    /// Whether it has one of these.
    pub(super) fn has(&self, words: &WordList) -> bool {
        let index = words.index();
        let has_one = |start: &Start| {
            let mut like = index.like(start.begins).iter();
            like.any(|(_, entry)| self.says(start, entry))
        };
        self.starts.iter().any(has_one)
            || (self.pieces && index.pieces.iter().any(|piece| self.text.contains(piece)))
    }

    fn says(&self, start: &Start, entry: &str) -> bool {
        if entry.contains(' ') {
            return self.text[start.from..].starts_with(entry);
        }
        let word = &self.text[start.from..start.to];
        start.whole
            && match entry.strip_suffix('*') {
                Some(stem) => word.starts_with(stem),
                None => word == entry,
            }
    }
}

impl Start {
    fn new(text: &str, from: usize, to: usize, whole: bool) -> Start {
        Start {
            from,
            to,
            begins: beginning(&text[from..to]),
            whole,
        }
    }
}

/// What may stand inside a word.
fn is_mark(c: char) -> bool {
    matches!(c, '\'' | '’' | '-')
}

/// How many bytes the character there has, and whether it is one of a word.
fn in_word(text: &str, at: usize) -> Option<(usize, bool)> {
    let byte = *text.as_bytes().get(at)?;
    if byte.is_ascii() {
        let mark = matches!(byte, b'\'' | b'-');
        return Some((1, byte.is_ascii_alphanumeric() || mark));
    }
    let c = text[at..].chars().next()?;
    Some((c.len_utf8(), c.is_alphanumeric() || is_mark(c)))
}

/// The words of a text.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            while let Some((len, false)) = in_word(text, at) {
                at += len;
            }
            let from = at;
            while let Some((len, true)) = in_word(text, at) {
                at += len;
            }
            if at == from {
                return None;
            }
            let word = &text[from..at];
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
