//! Quoted text is what an ask is about, seldom what it asks: its words are counted, but they do not name the task.
//!
//! A quotation that is never closed is none: an inch mark must not silence the rest of the text.

use super::Scanner;
use crate::classify::lexicon::{CLASSES, Class};

/// Where the reader is: in a quotation, and what it has met there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quotes {
    /// What ends the quotation; `\0` outside.
    until: char,
    /// Which quotation it is; those before count from 1.
    count: u32,
    /// N-grams before it.
    grams_before: usize,
    words_before: u32,
    /// What would have been near an end, here and in those before.
    held: [f32; CLASSES],
    dropped: [f32; CLASSES],
}

impl Default for Quotes {
    fn default() -> Quotes {
        Quotes {
            until: '\0',
            count: 0,
            grams_before: 0,
            words_before: 0,
            held: [0.0; CLASSES],
            dropped: [0.0; CLASSES],
        }
    }
}

impl Quotes {
    pub(super) fn open(&self) -> bool {
        self.until != '\0'
    }

    /// The quotation's number, 0 outside.
    pub(super) fn number(&self) -> u32 {
        if self.open() { self.count } else { 0 }
    }

    pub(super) fn hold(&mut self, class: Class, weight: f32) {
        self.held[class.index()] += weight;
    }
}

/// What ends a quotation that begins so.
fn end_of(begin: char) -> Option<char> {
    match begin {
        '"' => Some('"'),
        '“' => Some('”'),
        '„' => Some('“'),
        '«' => Some('»'),
        '「' => Some('」'),
        '『' => Some('』'),
        _ => None,
    }
}

impl Scanner<'_> {
    /// A mark between words: does a quotation begin or end here?
    pub(super) fn quote(&mut self, c: char) {
        let Scanner { scan, pass } = self;
        let quotes = &mut pass.quotes;
        if !quotes.open() {
            let begins = c != '"' || !pass.last.is_alphanumeric();
            if let Some(until) = end_of(c).filter(|_| begins) {
                quotes.until = until;
                quotes.count += 1;
                quotes.grams_before = scan.grams.ids().len();
                quotes.words_before = scan.words;
            }
        } else if c == quotes.until || (quotes.until == '“' && c == '”') {
            quotes.until = '\0';
            scan.quoted_words += scan.words - quotes.words_before;
            for (dropped, held) in quotes.dropped.iter_mut().zip(&mut quotes.held) {
                *dropped += std::mem::take(held);
            }
        }
    }

    /// The text ends: a quotation that is still open was none.
    pub(super) fn end_quote(&mut self) {
        let Scanner { scan, pass } = self;
        let quotes = &mut pass.quotes;
        if !quotes.open() {
            return;
        }
        quotes.until = '\0';
        scan.grams.unquote_from(quotes.grams_before);
        for hit in &mut pass.hits.ring {
            if hit.quotation == quotes.count {
                hit.quotation = 0;
            }
        }
        for (near, held) in scan.near.iter_mut().zip(&mut quotes.held) {
            *near += std::mem::take(held);
        }
    }

    /// An ask that is all quotation says what it says.
    pub(super) fn count_quotes(&mut self) {
        let Scanner { scan, pass } = self;
        if scan.quoted_words > 0 && scan.quoted_words == scan.words {
            scan.near = pass.quotes.dropped;
            for hit in &mut pass.hits.ring {
                hit.quotation = 0;
            }
        }
        scan.grams.part();
    }
}
