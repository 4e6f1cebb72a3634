//! Which words of some lists a short text has, in any of ten languages. For sentences, not for documents: a text is read once, for all
//! lists of a vocabulary together.

use super::letters::unspaced;
use aho_corasick::{AhoCorasick, AhoCorasickKind};
use std::ops::Range;
use std::sync::OnceLock;

/// Words to look for: `word` is a whole word, `word*` begins one, `two words` begins with one; what is written without spaces, or in
/// Arabic, is a piece of the text.
#[derive(Clone, Copy)]
pub(super) struct WordList {
    /// Its place in its vocabulary.
    number: usize,
    entries: &'static [&'static str],
}

impl WordList {
    /// A list of these words.
    pub(super) const fn of(entries: &'static [&'static str]) -> WordList {
        WordList { number: 0, entries }
    }

    /// The same at this place of its vocabulary.
    pub(super) const fn at(self, number: usize) -> WordList {
        WordList { number, ..self }
    }
}

/// Lists of a vocabulary, one bit each.
#[derive(Clone, Copy, Default)]
pub(super) struct Lists(u32);

impl Lists {
    const fn one(list: WordList) -> Lists {
        Lists(1 << list.number)
    }

    /// Whether the list is among them.
    pub(super) fn has(self, list: WordList) -> bool {
        self.0 & Lists::one(list).0 != 0
    }

    fn add(&mut self, others: Lists) {
        self.0 |= others.0;
    }
}

/// Word lists that are looked for together.
pub(super) struct Vocabulary {
    lists: &'static [WordList],
    index: OnceLock<Index>,
}

/// The entries of all lists by how they begin, so that most words of a text are compared with none of them.
struct Index {
    /// Where the entries begin that share the remainder of their beginning, and after the last where they end.
    begins: Vec<u16>,
    entries: Vec<Entry>,
    /// What is looked for anywhere in a text.
    pieces: Vec<(&'static str, Lists)>,
}

/// What is looked for where a word begins.
struct Entry {
    beginning: u16,
    form: Form,
    text: &'static str,
    lists: Lists,
}

/// How much of a word an entry is.
enum Form {
    /// All of it.
    Word,
    /// Its beginning.
    Stem,
    /// It and what follows it.
    Phrase,
}

/// Remainders by which beginnings are told apart.
const REMAINDERS: usize = 1_024;

/// How a word, or a text that begins with one, begins: its first two bytes.
fn beginning(text: &[u8]) -> u16 {
    match *text {
        [] => 0,
        // After a word of one letter comes nothing of it.
        [only] | [only, b' ', ..] => u16::from_be_bytes([only, 0]),
        [first, second, ..] => u16::from_be_bytes([first, second]),
    }
}

fn remainder(beginning: u16) -> usize {
    usize::from(beginning ^ (beginning >> 5)) % REMAINDERS
}

impl Vocabulary {
    /// These lists, each at the place that is its number.
    pub(super) const fn of(lists: &'static [WordList]) -> Vocabulary {
        let mut at = 0;
        while at < lists.len() {
            assert!(
                lists[at].number == at && at < 32,
                "a list stands at its number"
            );
            at += 1;
        }
        Vocabulary {
            lists,
            index: OnceLock::new(),
        }
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::of(self.lists))
    }

    /// What a text has of it.
    pub(super) fn matches(&self, text: &str) -> Matches {
        let text = match text.is_ascii() {
            true => text.to_ascii_lowercase(),
            false => text.to_lowercase(),
        };
        let mut found = Vec::new();
        self.index()
            .find(&text, |at, lists| found.push((at, lists)));
        Matches { text, found }
    }
}

impl Index {
    fn of(lists: &[WordList]) -> Index {
        let all = lists.iter().flat_map(|list| {
            let own = Lists::one(*list);
            list.entries.iter().map(move |entry| (*entry, own))
        });
        let (pieces, spaced): (Vec<_>, Vec<_>) =
            all.partition(|(entry, _)| entry.starts_with(in_pieces));
        let mut entries: Vec<Entry> = spaced.into_iter().map(Entry::of).collect();
        entries.sort_by_key(|entry| remainder(entry.beginning));
        let begin = |wanted| entries.partition_point(|e| remainder(e.beginning) < wanted);
        let begins =
            (0..=REMAINDERS).map(|wanted| u16::try_from(begin(wanted)).expect("a list is short"));
        Index {
            begins: begins.collect(),
            entries,
            pieces,
        }
    }

    /// Tells where in a text of small letters a word of these lists begins.
    fn find(&self, text: &str, mut tell: impl FnMut(usize, Lists)) {
        for word in WordRanges::of(text) {
            self.look_up(text, &word, true, &mut tell);
            if word.marked {
                let inside = text[word.from..word.to].match_indices(is_mark);
                for (at, mark) in inside {
                    let from = word.from + at + mark.len();
                    self.look_up(text, &WordRange { from, ..word }, false, &mut tell);
                }
            }
        }
        if !text.is_ascii() && text.contains(in_pieces) {
            for (piece, lists) in &self.pieces {
                let places = memchr::memmem::find_iter(text.as_bytes(), piece);
                places.for_each(|at| tell(at, *lists));
            }
        }
    }

    /// Looks up what begins there; after a hyphen or an apostrophe, where no word is whole, only phrases.
    fn look_up(
        &self,
        text: &str,
        word: &WordRange,
        whole: bool,
        tell: &mut impl FnMut(usize, Lists),
    ) {
        let own = &text.as_bytes()[word.from..word.to];
        let beginning = beginning(own);
        let at = remainder(beginning);
        let like = usize::from(self.begins[at])..usize::from(self.begins[at + 1]);
        for entry in &self.entries[like] {
            let wanted = entry.text.as_bytes();
            let met = entry.beginning == beginning
                && match entry.form {
                    Form::Word => whole && own == wanted,
                    Form::Stem => whole && own.starts_with(wanted),
                    Form::Phrase => text.as_bytes()[word.from..].starts_with(wanted),
                };
            if met {
                tell(word.from, entry.lists);
            }
        }
    }
}

impl Entry {
    fn of((entry, lists): (&'static str, Lists)) -> Entry {
        let (form, text) = match entry.strip_suffix('*') {
            _ if entry.contains(' ') => (Form::Phrase, entry),
            Some(stem) => (Form::Stem, stem),
            None => (Form::Word, entry),
        };
        Entry {
            beginning: beginning(entry.as_bytes()),
            form,
            text,
            lists,
        }
    }
}

/// A text in small letters, and where words of a vocabulary begin in it.
pub(super) struct Matches {
    text: String,
    found: Vec<(usize, Lists)>,
}

impl Matches {
    /// The text in small letters.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The lists of which a word begins within a range of the text.
    pub(super) fn within(&self, range: Range<usize>) -> Lists {
        let mut all = Lists::default();
        for (at, lists) in &self.found {
            if range.contains(at) {
                all.add(*lists);
            }
        }
        all
    }

    /// The lists of which it has a word anywhere.
    pub(super) fn all(&self) -> Lists {
        self.within(0..self.text.len())
    }
}

/// What the words of several lists begin with: where a text has none of it, nothing more needs to be known of it.
pub(super) struct Beginnings {
    lists: &'static [WordList],
    found: OnceLock<AhoCorasick>,
}

impl Beginnings {
    pub(super) const fn of(lists: &'static [WordList]) -> Beginnings {
        Beginnings {
            lists,
            found: OnceLock::new(),
        }
    }

    /// Whether one of these lists is among those found.
    pub(super) fn are_among(&self, found: Lists) -> bool {
        self.lists.iter().any(|list| found.has(*list))
    }

    /// Whether a text may have one of the words. Only texts of ASCII are looked at; others may have any.
    pub(super) fn may_be_in(&self, text: &str) -> bool {
        !text.is_ascii() || self.found.get_or_init(|| self.finder()).is_match(text)
    }

    fn finder(&self) -> AhoCorasick {
        let entries = self.lists.iter().flat_map(|list| list.entries);
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

/// Letters whose words are looked for as pieces of the text.
fn in_pieces(c: char) -> bool {
    unspaced(c) || matches!(c, '\u{600}'..='\u{6FF}')
}

/// What may stand inside a word.
fn is_mark(c: char) -> bool {
    matches!(c, '\'' | '’' | '-')
}

/// What a byte is to a word.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Between words.
    Between,
    /// A letter or a digit.
    Letter,
    /// A hyphen or an apostrophe.
    Mark,
    /// The first byte of a character outside ASCII.
    Foreign,
}

const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Between; 256];
    let mut byte = 0_u8;
    loop {
        kinds[byte as usize] = match byte {
            b'\'' | b'-' => Kind::Mark,
            ascii if ascii.is_ascii_alphanumeric() => Kind::Letter,
            128.. => Kind::Foreign,
            _ => Kind::Between,
        };
        if byte == u8::MAX {
            break kinds;
        }
        byte += 1;
    }
};

/// What stands at a place of a text, and how many bytes it has.
fn kind_at(text: &str, at: usize) -> Option<(Kind, usize)> {
    let kind = KINDS[usize::from(*text.as_bytes().get(at)?)];
    if kind != Kind::Foreign {
        return Some((kind, 1));
    }
    let c = text[at..].chars().next()?;
    let kind = match c {
        _ if is_mark(c) => Kind::Mark,
        _ if c.is_alphanumeric() => Kind::Letter,
        _ => Kind::Between,
    };
    Some((kind, c.len_utf8()))
}

/// How many letters and digits of ASCII a text begins with.
fn letters_in(bytes: &[u8]) -> usize {
    let mut letters = bytes.iter();
    let end = letters.position(|byte| KINDS[usize::from(*byte)] != Kind::Letter);
    end.unwrap_or(bytes.len())
}

/// Where a word stands in a text, without marks around it.
#[derive(Clone, Copy)]
struct WordRange {
    from: usize,
    to: usize,
    /// It has a hyphen or an apostrophe inside.
    marked: bool,
}

struct WordRanges<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> WordRanges<'t> {
    fn of(text: &'t str) -> WordRanges<'t> {
        WordRanges { text, at: 0 }
    }
}

impl Iterator for WordRanges<'_> {
    type Item = WordRange;

    fn next(&mut self) -> Option<WordRange> {
        let mut at = self.at;
        // Before the first letter marks are no part of the word.
        loop {
            match kind_at(self.text, at)? {
                (Kind::Letter, _) => break,
                (_, len) => at += len,
            }
        }
        let (from, mut to, mut marks, mut marked) = (at, at, false, false);
        loop {
            let run = letters_in(&self.text.as_bytes()[at..]);
            if run > 0 {
                at += run;
                to = at;
                marked |= marks;
            }
            let Some((kind, len)) = kind_at(self.text, at) else {
                break;
            };
            match kind {
                Kind::Letter => {
                    at += len;
                    to = at;
                    marked |= marks;
                }
                Kind::Mark => {
                    at += len;
                    marks = true;
                }
                _ => break,
            }
        }
        self.at = at;
        Some(WordRange { from, to, marked })
    }
}

/// The words of a text.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    WordRanges::of(text).map(|word| &text[word.from..word.to])
}

#[cfg(test)]
mod tests {
    use super::{Vocabulary, WordList};

    const ANIMALS: WordList = WordList::of(&["cat", "horse*", "guinea pig", "猫"]).at(0);
    const PLANTS: WordList = WordList::of(&["oak", "pig wort", "猫草"]).at(1);
    static BOTH: Vocabulary = Vocabulary::of(&[ANIMALS, PLANTS]);

    /// Which of the two lists a text has a word of.
    fn lists_of(text: &str) -> (bool, bool) {
        let all = BOTH.matches(text).all();
        (all.has(ANIMALS), all.has(PLANTS))
    }

    #[test]
    fn words_are_whole_stems_begin_and_phrases_go_on() {
        for (text, lists) in [
            ("My CAT's toy", (false, false)),
            ("'cat'", (true, false)),
            ("a concatenation", (false, false)),
            ("Horseback riding", (true, false)),
            ("two guinea pigs", (true, false)),
            ("a guinea-pig", (false, false)),
            // A phrase may begin after a hyphen; a word is whole there no more.
            ("red-oak and guinea-pig wort", (false, true)),
            ("这只猫很大", (true, false)),
            ("猫草", (true, true)),
            ("", (false, false)),
        ] {
            assert_eq!(lists_of(text), lists, "{text}");
        }
    }

    #[test]
    fn a_part_of_a_text_has_the_words_that_begin_in_it() {
        let matches = BOTH.matches("The oak. The cat.");
        let (first, second) = (matches.within(0..8), matches.within(8..17));
        assert!(first.has(PLANTS) && !first.has(ANIMALS));
        assert!(second.has(ANIMALS) && !second.has(PLANTS));
    }
}
