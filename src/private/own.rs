//! The operator's own words and patterns. Words are whole words in any case; patterns are regular expressions without what could take
//! long (no looking around, no references back), each as large as a limit allows.

use crate::private::Class;
use crate::private::search::Search;
use aho_corasick::{AhoCorasick, MatchKind};
use regex::bytes::{RegexBuilder, RegexSet, RegexSetBuilder};

/// No more words: they are one automaton in memory.
const WORDS_MAX: usize = 20_000;
/// No longer ones: no more is put together of texts that are split.
const WORD_MAX: usize = 200;
/// No more patterns: each makes the search slower.
const PATTERNS_MAX: usize = 100;
/// No pattern is larger once it is compiled: 1 MiB.
const PATTERN_BYTES: usize = 1 << 20;
/// Nor are all of them together, and what is kept of them while they run: 16 MiB.
const ALL_BYTES: usize = 1 << 24;

/// What the operator calls confidential.
pub(super) struct Own {
    words: Option<AhoCorasick>,
    /// The word that each entry stands for: one in several cases is several.
    stands_for: Vec<usize>,
    patterns: Option<RegexSet>,
}

/// What is wrong with a pattern, if anything is.
#[must_use]
pub fn flaw(pattern: &str) -> Option<String> {
    let built = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build();
    match built {
        Ok(regex) if regex.is_match(b"") => Some("it is like every text".to_owned()),
        Ok(_) => None,
        Err(regex::Error::CompiledTooBig(_)) => Some("it is too large".to_owned()),
        Err(why) => {
            let why = why.to_string();
            let last = why.lines().last().unwrap_or_default();
            Some(last.trim_start_matches("error: ").to_owned())
        }
    }
}

impl Own {
    pub(super) fn new(words: &[String], patterns: &[String]) -> Result<Own, String> {
        if words.len() > WORDS_MAX || patterns.len() > PATTERNS_MAX {
            return Err(format!(
                "there may be {WORDS_MAX} words and {PATTERNS_MAX} patterns"
            ));
        }
        if words
            .iter()
            .any(|word| word.len() > WORD_MAX || word.trim().is_empty())
        {
            return Err(format!("a word has 1 to {WORD_MAX} bytes"));
        }
        let (mut all, mut stands_for) = (Vec::new(), Vec::new());
        for (at, word) in words.iter().enumerate() {
            let word = word.trim();
            let mut forms = vec![word.to_owned()];
            if !word.is_ascii() {
                forms.extend([word.to_lowercase(), word.to_uppercase()]);
                forms.dedup();
            }
            stands_for.extend(forms.iter().map(|_| at));
            all.extend(forms);
        }
        let finder = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(&all)
            .map_err(|why| format!("the words cannot be used: {why}"))?;
        let set = RegexSetBuilder::new(patterns)
            .size_limit(ALL_BYTES)
            .dfa_size_limit(ALL_BYTES)
            .build()
            .map_err(|_| "the patterns are too large together".to_owned())?;
        Ok(Own {
            words: (!all.is_empty()).then_some(finder),
            stands_for,
            patterns: (!patterns.is_empty()).then_some(set),
        })
    }

    /// Notes every word and every pattern that is there.
    pub(super) fn search(&self, search: &mut Search<'_>) {
        if !search.wants(Class::Own) {
            return;
        }
        let text = search.text;
        if let Some(words) = &self.words {
            search.worked(text.len());
            // Words may lie within each other; each letter ends at most as many as there are lengths.
            for found in words.find_overlapping_iter(text) {
                search.worked(1);
                if !search.wants(Class::Own) {
                    return;
                }
                if is_whole(text, found.start(), found.end()) {
                    let word = self.stands_for[found.pattern().as_usize()];
                    search.note(Class::Own, ("word", word), false);
                }
            }
        }
        if let Some(patterns) = &self.patterns {
            search.worked(text.len());
            for pattern in patterns.matches(text) {
                search.note(Class::Own, ("pattern", pattern), false);
            }
        }
    }
}

/// Letters do not go on before and behind it. Scripts that put no spaces between words have no such borders.
fn is_whole(text: &[u8], from: usize, to: usize) -> bool {
    let letter = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let before = from.checked_sub(1).and_then(|at| text.get(at));
    let starts = !letter(text.get(from)) || !letter(before);
    let ends = !letter(text.get(to - 1)) || !letter(text.get(to));
    starts && ends
}
