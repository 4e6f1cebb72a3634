//! An app's housekeeping: titles, tags, follow-up suggestions, search queries, topic checks and summaries of a chat, messages for
//! commits, completions at a cursor and verdicts on a request or a command, which the app asks for behind its user's back. However
//! hard the work is that it is about, the call itself is easy.
//!
//! Known by its shape, not by an app's templates: a sentence of the instructions (the last turn's beginning or end, or a short
//! system prompt) names the product *and* what it is about, or a conversation is quoted beside the product's name.

mod words;

use super::letters::{is_space, trim_end, trim_start};
use super::lexicon::Class;
use super::said::Said;
use super::scan::{Pass, Scan, Scanner};
use crate::chat::{Part, Prompt, Role};
use words::{
    ALWAYS, BARE, BUILT, CHANGES, CHATS, COMMAND_FACTS, COMMANDS, COMMITS, COMPLETERS, HOLDERS,
    HOLES, LABELS, LENGTHS, MAKERS, NEXT, REQUESTS, SOLE, SPEAKERS, SUMMARIES, TASKED, USERS,
    VERDICTS, WANTED,
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
        let said = Said::new(text);
        (said.has(&LABELS) || said.has(&SUMMARIES) || said.has(&NEXT))
            && work_in(text).all() < QUOTED_WORK
    };
    instructions.iter().any(names_it) || instructions.iter().any(|text| asks_for_chore(text))
}

/// Words that name work are as many as this where a conversation is quoted as material for a program.
const QUOTED_WORK: f32 = 4.0;

/// What an agent asks for with its tools and after its work: to shorten its own history, or to guess what its user types next.
fn is_of_agent(prompt: &Prompt<'_>, text: &str) -> bool {
    prompt.turns.len() > 2 && text.len() >= COMPACTION_MIN && WANTED.may_be_in(head(text)) && {
        let said = Said::new(head(text));
        let compaction = said.has(&SUMMARIES) && said.has(&CHATS) && said.has(&TASKED);
        compaction || (said.has(&NEXT) && said.has(&USERS))
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
        Some(at) => at == 0 || short || is_sole(text),
        None => false,
    };
    bytes <= SYSTEM_MAX && prompt.system.iter().any(|text| alone(text))
}

/// Whether a system prompt says that there is nothing else to do.
fn is_sole(text: &str) -> bool {
    [head(text), tail(text)].iter().any(|part| {
        let said = Said::new(part);
        said.has(&SOLE) || said.has(&BARE)
    })
}

/// Whether a user's turn asks for such a thing. Whoever speaks of programs before saying what is given wants one.
fn asks_for_chore(text: &str) -> bool {
    chore_in(text, false).is_some_and(|at| {
        let paragraph = text[..at].rfind("\n\n").map_or(0, |end| end + 2);
        let lead = text[paragraph..].split("\n\n").next();
        let lead = lead.and_then(|p| p.split([':', '：']).next());
        !Said::new(lead.unwrap_or_default()).has(&BUILT)
    })
}

/// Where the sentence of this text begins that asks for such a thing.
fn chore_in(text: &str, system: bool) -> Option<usize> {
    // Most texts speak of no such thing at all.
    if !WANTED.may_be_in(text) {
        return None;
    }
    let all = Said::new(text);
    if !WANTED.sets().any(|words| all.has(words)) {
        return None;
    }
    let mut place = Place {
        system,
        first: true,
        sole: all.has(&SOLE),
    };
    let mut sentences = text
        .split(['.', '\n', '!', '?', '。', '！', '？'])
        .filter(|s| s.len() > 7)
        .take(8);
    let found = sentences.find(|sentence| {
        let found = is_chore_sentence(sentence, &place);
        place.first = false;
        found
    });
    found.map(|sentence| sentence.as_ptr().addr() - text.as_ptr().addr())
}

/// Where a sentence stands.
struct Place {
    /// In a system prompt.
    system: bool,
    /// It is the first one.
    first: bool,
    /// The text says that there is nothing else to do.
    sole: bool,
}

fn is_chore_sentence(sentence: &str, place: &Place) -> bool {
    // What a title is wanted for may stand after a colon; the work in it is not wanted.
    let before = sentence.split([':', '：']).next().unwrap_or_default();
    let sentence = match Said::new(before).has(&LABELS) {
        true => before,
        false => sentence,
    };
    let said = Said::new(sentence);
    if said.has(&NEXT) && said.has(&USERS) {
        return true;
    }
    // A duty beside others comes after who the assistant is; a summary is also that.
    let summary = (!place.system || place.first) && said.has(&SUMMARIES) && said.has(&CHATS);
    let verdict = place.system && is_verdict(&said, place.sole);
    let completion = said.has(&COMPLETERS) && said.has(&TASKED);
    let allowed = Work {
        code: if summary || verdict || completion {
            ABOUT_CODE
        } else {
            1.0
        },
        thought: if place.system { 2.0 } else { 1.0 },
    };
    // A prompt that sets a summary of a chat may call the model a component, or name what the chat is about.
    let built = said.has(&BUILT) && !(place.system && summary);
    (summary || verdict || completion || is_label(&said, place))
        && !built
        && !said.has(&ALWAYS)
        && work_in(sentence).is_below(&allowed)
}

/// A few words about a conversation, a change, or whatever a maker of such words is given.
fn is_label(said: &Said, place: &Place) -> bool {
    let made = || place.system && said.has(&MAKERS);
    let of_chat = || {
        said.has(&CHATS)
            || (place.first && said.has(&LENGTHS))
            || (place.system && said.has(&BARE))
            || made()
    };
    (said.has(&LABELS) && of_chat()) || (said.has(&COMMITS) && (said.has(&CHANGES) || made()))
}

/// A verdict on a request, by a prompt that wants nothing else, or on a command of an agent.
fn is_verdict(said: &Said, sole: bool) -> bool {
    (sole && said.has(&VERDICTS) && said.has(&REQUESTS))
        || (said.has(&COMMAND_FACTS) && said.has(&COMMANDS))
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
