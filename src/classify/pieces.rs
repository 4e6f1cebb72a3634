//! The pieces of text that make an ask: a user's own words, without what apps put beside them. Of a long text a part is read.

use super::context::{self, BOILERPLATE_MAX};
use super::letters::{trim_end, trim_start};
use super::scan::{Pass, Scan, Scanner};
use crate::chat::{Part, Role, Turn};
use std::hash::Hasher;

/// Bytes of an ask that are read in full; of a longer one its beginning, its end and what looks like an instruction between.
const LOOK_MAX: usize = 6 * 1024;
/// Bytes of the beginning and of the end that are read of a longer ask.
const WINDOW: usize = LOOK_MAX / 2 - 512;
/// Bytes on either side of the middle in which an instruction is looked for.
const SEARCH_MAX: usize = 12 * 1024;
/// No byte further from either end of a piece is ever read, but of asks that are read in full.
const END_MAX: usize = WINDOW + SEARCH_MAX;
const _: () = assert!(
    2 * END_MAX > LOOK_MAX,
    "what is read in full is hashed in full"
);
/// An instruction inside a document is a short paragraph.
const INSTRUCTION_MAX: usize = 280;
/// What stands between paragraphs.
const GAP: &[u8] = b"\n\n";
/// Pieces that an ask may be made of: parts of a turn, and what is left of them without boilerplate.
const PIECES_MAX: usize = 24;
/// Tags of another kind after which it is looked for no more.
const TAGS_MAX: usize = 1_000;

/// The pieces of text that make an ask.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pieces<'a> {
    all: [&'a str; PIECES_MAX],
    len: usize,
}

/// What the user says in a turn, without what apps put beside it; nothing where it is no turn of the user's own.
pub fn own_words<'a>(turn: &'a Turn<'_>) -> impl Iterator<Item = &'a str> {
    let pieces = match turn.role {
        Role::User => Pieces::of(turn),
        _ => Pieces::default(),
    };
    let said = if pieces.blank() { 0 } else { pieces.len };
    pieces.all.into_iter().take(said)
}

impl<'a> Pieces<'a> {
    /// The words of a turn; boilerplate is left out, tool results are not the user's.
    pub(super) fn of(turn: &'a Turn<'_>) -> Pieces<'a> {
        let mut pieces = Pieces::default();
        let said = |p: &&Part<'_>| matches!(p, Part::Text(_) | Part::ToolResult(_));
        let alone = turn.parts.iter().filter(said).count() < 2;
        for part in &turn.parts {
            match part {
                Part::Text(text) if alone || !context::is_state(text) => pieces.take(text),
                _ => {}
            }
        }
        if pieces.blank() && !has_result(turn) {
            // Several parts of the user's own may look like an app's; then all of them count.
            for part in &turn.parts {
                if let (Part::Text(text), false) = (part, alone) {
                    pieces.take(text);
                }
            }
        }
        pieces
    }

    /// Without a paragraph of courtesy before and after it, where it is one text.
    pub(super) fn unframed(mut self) -> Pieces<'a> {
        if self.len == 1 {
            self.all[0] = unframed(self.all[0]);
        }
        self
    }

    /// One after the other.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'a str> {
        self.all.into_iter().take(self.len)
    }

    /// Hashes as much of them as is ever read, so that what is equal by that is read alike.
    pub(super) fn hash_what_is_read(&self, hasher: &mut impl Hasher) {
        for piece in self.iter() {
            let bytes = piece.as_bytes();
            hasher.write_usize(bytes.len());
            match bytes.len() > 2 * END_MAX {
                true => {
                    hasher.write(&bytes[..END_MAX]);
                    hasher.write(&bytes[bytes.len() - END_MAX..]);
                }
                false => hasher.write(bytes),
            }
        }
    }

    /// Has them counted; of long ones a part. Tells the text where it is one and was read in full.
    pub(super) fn read(&self, mut scanner: Scanner<'_>) -> Option<&'a str> {
        let in_full = self.iter().map(str::len).sum::<usize>() <= LOOK_MAX;
        if in_full {
            for piece in self.iter() {
                scanner.feed(piece);
            }
        } else {
            self.read_sampled(&mut scanner);
        }
        scanner.close();
        (in_full && self.len == 1).then_some(self.all[0])
    }

    /// The beginning, what looks like an instruction, and the end.
    fn read_sampled(&self, scanner: &mut Scanner<'_>) {
        let mut left = WINDOW;
        for piece in self.iter() {
            let head = &piece[..piece.floor_char_boundary(left)];
            scanner.feed(head);
            left -= head.len().min(left);
            if left == 0 {
                break;
            }
        }
        let (first, last) = (self.all[0], self.all[self.len - 1]);
        let head_end = first.floor_char_boundary(WINDOW);
        let tail_start = last.ceil_char_boundary(last.len().saturating_sub(WINDOW));
        if self.len == 1 {
            let middle = &first[head_end..tail_start.max(head_end)];
            if let Some(instruction) = instruction_in(middle) {
                scanner.feed(instruction);
            }
        }
        let mut tail = [""; PIECES_MAX];
        let (mut left, mut from) = (WINDOW, self.len);
        while from > 0 && left > 0 {
            from -= 1;
            let piece = self.all[from];
            tail[from] = &piece[piece.ceil_char_boundary(piece.len().saturating_sub(left))..];
            left -= tail[from].len().min(left);
        }
        // The windows of a text just over the limit may overlap a little; that is no harm.
        for piece in tail {
            if !piece.is_empty() {
                scanner.feed(piece);
            }
        }
    }

    /// Nothing is said.
    pub(super) fn blank(&self) -> bool {
        // A piece of white space only is read no further than its first characters.
        self.iter()
            .all(|p| p.chars().take(4096).all(char::is_whitespace))
    }

    fn push(&mut self, piece: &'a str) {
        if piece.is_empty() {
            return;
        }
        if self.len == PIECES_MAX {
            // The end matters more than what comes before it.
            self.all.copy_within(PIECES_MAX / 2 + 1.., PIECES_MAX / 2);
            self.len -= 1;
        }
        self.all[self.len] = piece;
        self.len += 1;
    }

    /// Adds a text without the boilerplate at its beginning and its end.
    fn take(&mut self, text: &'a str) {
        let mut rest = context::request_in(text);
        let (mut looked, mut tags) = (0, 0);
        let mut from = 0;
        while looked < BOILERPLATE_MAX && tags < TAGS_MAX {
            let Some(at) = context::within(b'<', &rest.as_bytes()[from..]) else {
                break;
            };
            let at = from + at;
            looked += at - from + 1;
            tags += 1;
            match context::block_at(rest, at) {
                Some(len) => {
                    self.push(context::without_heading(&rest[..at]));
                    rest = &rest[at + len..];
                    from = 0;
                }
                None => from = at + 1,
            }
        }
        self.push(rest);
    }
}

/// A short paragraph that asks or tells, near either end of what is not read.
fn instruction_in(middle: &str) -> Option<&str> {
    let head = &middle[..middle.floor_char_boundary(SEARCH_MAX)];
    let tail = &middle
        [middle.ceil_char_boundary(middle.len().saturating_sub(SEARCH_MAX).max(head.len()))..];
    let (mut scan, mut pass) = (Scan::default(), Pass::default());
    let mut scanner = Scanner::new(&mut scan, &mut pass);
    paragraphs(head)
        .chain(paragraphs_backwards(tail))
        .filter(|paragraph| (8..=INSTRUCTION_MAX).contains(&paragraph.len()))
        .find(|paragraph| scanner.begins_with_task(paragraph))
}

/// The paragraphs of a text.
fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    let gaps = memchr::memmem::find_iter(text.as_bytes(), GAP);
    let mut from = 0;
    let starts = gaps.map(|at| (at, at + GAP.len()));
    starts
        .chain([(text.len(), text.len())])
        .map(move |(to, next)| &text[std::mem::replace(&mut from, next)..to])
}

/// The same from the last to the first, and cut from there.
fn paragraphs_backwards(text: &str) -> impl Iterator<Item = &str> {
    let mut left = Some(text);
    std::iter::from_fn(move || {
        let all = left?;
        let bytes = all.as_bytes();
        // Single bytes are found backwards much sooner than two together.
        let gap = memchr::memrchr_iter(b'\n', bytes).find(|at| *at > 0 && bytes[at - 1] == b'\n');
        left = gap.map(|at| &all[..at - 1]);
        Some(gap.map_or(all, |at| &all[at + 1..]))
    })
}

/// A turn brings results of tools.
pub(super) fn has_result(turn: &Turn<'_>) -> bool {
    turn.parts.iter().any(|p| matches!(p, Part::ToolResult(_)))
}

/// Bytes of a paragraph that may be mere courtesy.
const COURTESY_MAX: usize = 200;
/// How a paragraph begins that greets, hopes or tells the model who it is, in small letters.
const OPENINGS: [&str; 26] = [
    "hi",
    "hello",
    "hey",
    "dear ",
    "good morning",
    "good evening",
    "i hope",
    "you are a helpful",
    "you are an expert",
    "hallo",
    "guten ",
    "du bist ein",
    "bonjour",
    "salut",
    "tu es un",
    "hola",
    "buenos",
    "eres un",
    "ciao",
    "buongiorno",
    "olá",
    "bom dia",
    "привет",
    "здравствуй",
    "你好",
    "こんにちは",
];
/// How a paragraph begins that thanks.
const CLOSINGS: [&str; 14] = [
    "thank",
    "many thanks",
    "thx",
    "best regards",
    "kind regards",
    "danke",
    "vielen dank",
    "merci",
    "gracias",
    "grazie",
    "obrigad",
    "спасибо",
    "谢谢",
    "ありがとう",
];

/// The text without a paragraph of courtesy before and after it: how an ask is framed says nothing of how hard it is.
fn unframed(text: &str) -> &str {
    let mut text = text;
    let head = &text[..text.floor_char_boundary(COURTESY_MAX)];
    let greeting = head.trim_start();
    if let Some(end) =
        memchr::memmem::find(greeting.as_bytes(), GAP).map(|at| at + head.len() - greeting.len())
    {
        let rest = trim_start(&text[end..]);
        if !rest.is_empty() && begins(&text[..end], &OPENINGS) {
            text = rest;
        }
    }
    let trimmed = trim_end(text);
    let tail = &trimmed[trimmed.ceil_char_boundary(trimmed.len().saturating_sub(COURTESY_MAX))..];
    let last = memchr::memmem::rfind(tail.as_bytes(), GAP);
    let last = last.map(|at| at + trimmed.len() - tail.len());
    match last {
        Some(at) if at > 0 && begins(&trimmed[at..], &CLOSINGS) => &trimmed[..at],
        _ => text,
    }
}

fn begins(paragraph: &str, with: &[&str]) -> bool {
    let words = paragraph.trim_start();
    with.iter().any(|w| {
        let mut chars = words.chars().flat_map(char::to_lowercase);
        let mut wanted = w.chars();
        // "hi" is a greeting, "history" is not.
        wanted.all(|c| chars.next() == Some(c))
            && (w.len() > 3 || chars.next().is_none_or(|c| !c.is_alphanumeric()))
    })
}
