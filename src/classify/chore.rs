//! An app's housekeeping: titles, tags, follow-up suggestions, search queries, topic checks and summaries of a chat, messages for
//! commits, completions at a cursor and verdicts on a request or a command, which the app asks for behind its user's back. However
//! hard the work is that it is about, the call itself is easy.
//!
//! Known by its shape, not by an app's templates: a sentence of the instructions (the last turn's beginning or end, or a short
//! system prompt) names the product *and* what it is about, or a conversation is quoted beside the product's name.

mod words;

use super::letters::{is_space, trim_end, trim_start};
use super::lexicon::Class;
use super::scan::{Pass, Scan, Scanner};
use super::vocabulary::{Lists, Matches};
use crate::chat::{Part, Prompt, Role};
use std::ops::Range;
use words::{
    ALWAYS, BARE, BUILT, CHANGES, CHATS, COMMAND_FACTS, COMMANDS, COMMITS, COMPLETERS, HOLDERS,
    HOLES, LABELS, LENGTHS, MAKERS, NEXT, REQUESTS, SOLE, SPEAKERS, SUMMARIES, TASKED, USERS,
    VERDICTS, VOCABULARY, WANTED,
};

/// Bytes at the beginning of a text in which an instruction is looked for.
const HEAD: usize = 500;
/// Bytes at its end.
const TAIL: usize = 300;
/// Bytes of a text in which a quoted conversation is looked for.
const QUOTE_MAX: usize = 16 * 1024;
/// A system prompt that is longer is an app's own, with many duties.
const SYSTEM_MAX: usize = 12 * 1024;
/// Tools that a call may offer that only wants its answer in a form.
const TOOLS_MAX: usize = 1;
/// The instructions to shorten an agent's whole history are at least so long; a user's wish is not.
const COMPACTION_MIN: usize = 300;

/// Whether this is a call for housekeeping.
pub(super) fn is_chore(prompt: &Prompt<'_>) -> bool {
    let Some(turn) = prompt.turns.last().filter(|t| t.role == Role::User) else {
        return false;
    };
    let texts = turn.parts.iter().filter_map(|part| match part {
        Part::Text(text) if !is_space(text) => Some(text.as_ref()),
        _ => None,
    });
    let texts: Vec<&str> = texts.collect();
    // Many tools, or results of tools beside the user's words, are an agent at work.
    let has_results = turn.parts.iter().any(|p| matches!(p, Part::ToolResult(_)));
    if has_results || prompt.tools > TOOLS_MAX {
        return texts.iter().any(|text| is_of_agent(prompt, text));
    }
    let by_words = match texts.iter().find_map(|text| quote_in(text)) {
        Some((before, after)) => is_about_quote(&[head(before), tail(after)]),
        None => is_in_words(&texts),
    };
    by_words || (!texts.is_empty() && by_system(prompt))
}

/// Whether a turn that quotes nothing asks for it, at its beginning or its end.
fn is_in_words(texts: &[&str]) -> bool {
    let (Some(first), Some(end)) = (texts.first(), texts.last()) else {
        return false;
    };
    asks_for_chore(head(first)) || (first != end && asks_for_chore(tail(end))) || has_hole(first)
}

/// Whether what stands before and after a quoted conversation asks for it.
fn is_about_quote(instructions: &[&str]) -> bool {
    let names_it = |text: &&str| {
        let has = VOCABULARY.matches(text).all();
        (has.has(LABELS) || has.has(SUMMARIES) || has.has(NEXT))
            && work_in(text).all() < QUOTED_WORK
    };
    instructions.iter().any(names_it) || instructions.iter().any(|text| asks_for_chore(text))
}

/// Words that name work are as many as this where a conversation is quoted as material for a program.
const QUOTED_WORK: f32 = 4.0;

/// What an agent asks for with its tools and after its work: to shorten its own history, or to guess what its user types next.
fn is_of_agent(prompt: &Prompt<'_>, text: &str) -> bool {
    prompt.turns.len() > 2 && text.len() >= COMPACTION_MIN && WANTED.may_be_in(head(text)) && {
        let has = VOCABULARY.matches(head(text)).all();
        let compaction = has.has(SUMMARIES) && has.has(CHATS) && has.has(TASKED);
        compaction || (has.has(NEXT) && has.has(USERS))
    }
}

/// Whether a text is nothing but a hole with what stands around it.
fn has_hole(text: &str) -> bool {
    let start = text.trim_ascii_start();
    HOLES.iter().any(|mark| start.starts_with(mark))
}

/// A short system prompt that sets the model this task alone: it begins with it, or says so, or is given one text to do it with.
fn by_system(prompt: &Prompt<'_>) -> bool {
    let bytes: usize = prompt.system.iter().map(|s| s.len()).sum();
    let users = prompt.turns.iter().filter(|t| t.role == Role::User);
    let short = users.take(3).count() < 3;
    let alone = |text: &str| match chore_in(head(text), true) {
        Some((_, at)) => at == 0 || short || is_sole(text),
        None => false,
    };
    bytes <= SYSTEM_MAX && prompt.system.iter().any(|text| alone(text))
}

/// Whether a system prompt says that there is nothing else to do.
fn is_sole(text: &str) -> bool {
    [head(text), tail(text)].iter().any(|part| {
        let has = VOCABULARY.matches(part).all();
        has.has(SOLE) || has.has(BARE)
    })
}

/// Whether a user's turn asks for such a thing. Whoever speaks of programs before saying what is given wants one.
fn asks_for_chore(text: &str) -> bool {
    chore_in(text, false).is_some_and(|(matches, at)| {
        let text = matches.text();
        let paragraph = text[..at].rfind("\n\n").map_or(0, |end| end + 2);
        let lead = text[paragraph..].split("\n\n").next().unwrap_or_default();
        let lead = paragraph..paragraph + before_colon(lead).len();
        !matches.within(lead).has(BUILT)
    })
}

/// The words of a text, and where the sentence begins in them that asks for such a thing.
fn chore_in(text: &str, system: bool) -> Option<(Matches, usize)> {
    // Most texts speak of no such thing at all.
    if !WANTED.may_be_in(text) {
        return None;
    }
    let matches = VOCABULARY.matches(text);
    let all = matches.all();
    if !WANTED.are_among(all) {
        return None;
    }
    let mut place = SentencePlace {
        system,
        first: true,
        sole: all.has(SOLE),
    };
    let asks = |sentence: &Range<usize>| {
        let asks = is_chore_sentence(&matches, sentence.clone(), &place);
        place.first = false;
        asks
    };
    let at = sentences(matches.text()).take(8).find(asks)?.start;
    Some((matches, at))
}

/// Where the sentences of a text stand that are more than a word.
fn sentences(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut from = Some(0);
    let all = std::iter::from_fn(move || {
        let start = from?;
        let stop = text.as_bytes()[start..]
            .iter()
            .enumerate()
            .find_map(|(at, byte)| {
                let stop = match byte {
                    b'.' | b'\n' | b'!' | b'?' => 1,
                    // The first byte of full stops outside ASCII.
                    0xe3 | 0xef if text[start + at..].starts_with(['。', '！', '？']) => 3,
                    _ => return None,
                };
                Some((start + at, stop))
            });
        from = stop.map(|(at, len)| at + len);
        Some(start..stop.map_or(text.len(), |(at, _)| at))
    });
    all.filter(|sentence| sentence.len() > 7)
}

/// What stands before the first colon.
fn before_colon(text: &str) -> &str {
    // The other one begins with this byte.
    let mut places = memchr::memchr2_iter(b':', 0xef, text.as_bytes());
    let colon = places.find(|at| text[*at..].starts_with([':', '：']));
    &text[..colon.unwrap_or(text.len())]
}

/// Where a sentence stands.
struct SentencePlace {
    /// In a system prompt.
    system: bool,
    /// It is the first one.
    first: bool,
    /// The text says that there is nothing else to do.
    sole: bool,
}

fn is_chore_sentence(matches: &Matches, sentence: Range<usize>, place: &SentencePlace) -> bool {
    // What a title is wanted for may stand after a colon; the work in it is not wanted.
    let before = before_colon(&matches.text()[sentence.clone()]).len();
    let before = sentence.start..sentence.start + before;
    let sentence = match matches.within(before.clone()).has(LABELS) {
        true => before,
        false => sentence,
    };
    let has = matches.within(sentence.clone());
    if has.has(NEXT) && has.has(USERS) {
        return true;
    }
    // A duty beside others comes after who the assistant is; a summary is also that.
    let summary = (!place.system || place.first) && has.has(SUMMARIES) && has.has(CHATS);
    let verdict = place.system && is_verdict(has, place.sole);
    let completion = has.has(COMPLETERS) && has.has(TASKED);
    let allowed = Work {
        code: if summary || verdict || completion {
            ABOUT_CODE
        } else {
            1.0
        },
        thought: if place.system { 2.0 } else { 1.0 },
    };
    // A prompt that sets a summary of a chat may call the model a component, or name what the chat is about.
    let built = has.has(BUILT) && !(place.system && summary);
    (summary || verdict || completion || is_label(has, place))
        && !built
        && !has.has(ALWAYS)
        && work_in(&matches.text()[sentence]).is_below(&allowed)
}

/// A few words about a conversation, a change, or whatever a maker of such words is given.
fn is_label(has: Lists, place: &SentencePlace) -> bool {
    let made = place.system && has.has(MAKERS);
    let of_chat = has.has(CHATS)
        || (place.first && has.has(LENGTHS))
        || (place.system && has.has(BARE))
        || made;
    (has.has(LABELS) && of_chat) || (has.has(COMMITS) && (has.has(CHANGES) || made))
}

/// A verdict on a request, by a prompt that wants nothing else, or on a command of an agent.
fn is_verdict(has: Lists, sole: bool) -> bool {
    (sole && has.has(VERDICTS) && has.has(REQUESTS))
        || (has.has(COMMAND_FACTS) && has.has(COMMANDS))
}

/// How much a text speaks of work that is more than a label.
struct Work {
    /// Of programs.
    code: f32,
    /// Of failures, sums and conclusions.
    thought: f32,
}

impl Work {
    fn all(&self) -> f32 {
        self.code + self.thought
    }

    fn is_below(&self, allowed: &Work) -> bool {
        self.code < allowed.code && self.thought < allowed.thought
    }
}

/// So much may a summary, a verdict or a completion speak of programs without wanting one.
const ABOUT_CODE: f32 = 3.0;

fn work_in(text: &str) -> Work {
    let (mut scan, mut pass) = (Scan::default(), Pass::default());
    let mut scanner = Scanner::new(&mut scan, &mut pass);
    scanner.feed(text);
    scanner.close();
    let of = |class: Class| scan.near[class.index()];
    Work {
        code: of(Class::Code),
        thought: of(Class::Debug) + of(Class::Maths) + of(Class::Logic),
    }
}

fn head(text: &str) -> &str {
    let text = trim_start(text);
    &text[..text.floor_char_boundary(HEAD)]
}

fn tail(text: &str) -> &str {
    let text = trim_end(text);
    &text[text.ceil_char_boundary(text.len().saturating_sub(TAIL))..]
}

/// What stands before and after a quoted conversation, if there is one.
fn quote_in(text: &str) -> Option<(&str, &str)> {
    let read = &text[..text.floor_char_boundary(QUOTE_MAX)];
    let (mut begins, mut ends, mut spoken) = (None, 0, 0);
    let mut at = 0;
    let ends_of_lines = memchr::memchr_iter(b'\n', read.as_bytes()).map(|at| at + 1);
    for end in ends_of_lines.chain([read.len()]) {
        let line = &read[at..end];
        let said = line.trim_start_matches([' ', '\t', '*', '#', '-', '[', '>', '"', '{']);
        if holds_chat(line) {
            let close = text[at + line.len()..].rfind("</");
            let end = close.map_or(text.len(), |c| at + line.len() + c);
            return Some((&text[..at], &text[end..]));
        }
        if is_speaker(said) {
            spoken += 1;
            begins = begins.or(Some(at));
            ends = at + line.len();
        }
        at += line.len();
    }
    let begins = begins.filter(|_| spoken > 1)?;
    Some((&text[..begins], &text[ends..]))
}

/// Whether a line opens a tag that holds a conversation.
fn holds_chat(line: &str) -> bool {
    let name = line
        .trim_start()
        .strip_prefix('<')
        .and_then(|l| l.trim_end().split(['>', ' ']).next());
    name.is_some_and(|name| {
        let mut words = name.split(['_', '-']);
        words.any(|word| HOLDERS.iter().any(|h| h.eq_ignore_ascii_case(word)))
    })
}

/// Whether a line begins with who speaks, as a label or as a role in JSON.
fn is_speaker(line: &str) -> bool {
    let line = &line[..line.floor_char_boundary(40)];
    // What ends a label: one of these marks, or a mark of Chinese whose first byte this is.
    if memchr::memchr3(b':', b']', 0xef, line.as_bytes()).is_none() {
        return false;
    }
    if let Some(rest) = line.strip_prefix("role\"") {
        return rest.trim_start().starts_with(':');
    }
    let Some((label, _)) = line.split_once([':', '：', ']']) else {
        return false;
    };
    let label = label.trim_matches(['*', ' ', '_']);
    match label.is_ascii() {
        true => SPEAKERS.iter().any(|s| s.eq_ignore_ascii_case(label)),
        false => SPEAKERS.contains(&label.to_lowercase().as_str()),
    }
}
