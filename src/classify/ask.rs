//! The user's ask in its context: what was really asked, without an app's boilerplate, read once.

use super::Task;
use super::cues;
use crate::chat::{Part, Prompt, Role, Turn};
use std::borrow::Cow;

/// Bytes of an ask that are looked at: its beginning and its end, where instructions stand.
const LOOK_MAX: usize = 8 * 1024;
/// A reply of at most so many characters that asks for nothing by itself goes on with the ask before it.
const REPLY_CHARS_MAX: usize = 40;
/// What agent harnesses put around a user's words.
const BOILERPLATE: [(&str, &str); 4] = [
    ("<system-reminder>", "</system-reminder>"),
    ("<environment_context>", "</environment_context>"),
    ("<environment_details>", "</environment_details>"),
    ("<user_instructions>", "</user_instructions>"),
];

/// An ask and everything that was counted in one pass over it.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The text that is looked at.
    pub text: String,
    /// Bytes of all words of the conversation.
    pub conversation_bytes: u64,
    /// The last turn was a short reply to an answer.
    pub inherited: bool,
    /// Tools have answered in this turn.
    pub tool_turns: usize,
    /// Turns of the conversation.
    pub turns: usize,
    /// Characters.
    pub chars: usize,
    /// Words, by white space; scripts without spaces count two characters as one.
    pub words: usize,
    /// Lines that are not empty.
    pub lines: usize,
    /// Characters of the longest sentence.
    pub longest_sentence: usize,
    /// Digits.
    pub digits: usize,
    /// `+ - * / = ^ < > %` and their mathematical kin.
    pub operators: usize,
    /// `{ } ( ) [ ] ; _ $ # & | \` and backticks.
    pub code_marks: usize,
    /// Question marks of any script.
    pub questions: usize,
    /// Letters outside ASCII.
    pub foreign: usize,
    /// Lines that begin like an item of a list.
    pub items: usize,
    /// Lines that begin like an answer to choose (`A.`, `B)`).
    pub options: usize,
    /// Lines that begin with white space of two or more.
    pub indented: usize,
    /// Lines inside code fences.
    pub fenced: usize,
    /// Lines with two or more `|` or tabs, or three commas and no stop.
    pub rows: usize,
    /// Lines that look like a stack trace or a compiler's complaint.
    pub traces: usize,
    /// Lines of a diff.
    pub diff: usize,
    /// Weight of the words that name a task.
    pub cues: [f64; Task::ALL.len()],
}

impl Ask {
    /// Finds the ask: the last user turn with words of its own, or, behind a short reply, the one before.
    #[must_use]
    pub fn find(prompt: &Prompt<'_>) -> Ask {
        let mut asks = prompt
            .turns
            .iter()
            .rev()
            .filter(|t| t.role == Role::User)
            .map(words_of)
            .filter(|t| !t.trim().is_empty());
        let last = asks.next().unwrap_or_default();
        let mut ask = Ask::read(&last);
        if ask.chars <= REPLY_CHARS_MAX && ask.asks_for_nothing() {
            // A few replies may follow each other; beyond that the conversation has lost its ask.
            if let Some(before) = asks
                .take(4)
                .map(|t| Ask::read(&t))
                .find(|a| !(a.chars <= REPLY_CHARS_MAX && a.asks_for_nothing()))
            {
                ask = Ask {
                    inherited: true,
                    ..before
                };
            }
        }
        ask.turns = prompt.turns.len();
        ask.tool_turns = prompt
            .turns
            .iter()
            .rev()
            .take_while(|t| t.role != Role::User || words_of(t).trim().is_empty())
            .filter(|t| t.role == Role::Tool || has_result(t))
            .count();
        ask.conversation_bytes = bytes_of(prompt);
        ask
    }

    /// Reads a text once.
    #[must_use]
    pub fn read(text: &str) -> Ask {
        let text = sampled(text);
        let mut ask = Ask {
            cues: cues::weigh(&text),
            ..Ask::default()
        };
        let mut sentence = 0;
        let mut in_word = false;
        let mut unspaced = 0_usize;
        for c in text.chars() {
            ask.chars += 1;
            sentence += 1;
            match c {
                '0'..='9' => ask.digits += 1,
                '+' | '-' | '*' | '/' | '=' | '^' | '<' | '>' | '%' | '×' | '÷' | '±' | '√'
                | '∑' | '∫' | '≤' | '≥' | '≠' | '∞' | '∈' | '∀' | '∃' | 'π' | '→' => {
                    ask.operators += 1
                }
                '{' | '}' | '(' | ')' | '[' | ']' | ';' | '_' | '$' | '#' | '&' | '|' | '\\'
                | '`' => ask.code_marks += 1,
                '?' | '？' | '؟' => ask.questions += 1,
                c if !c.is_ascii() && c.is_alphabetic() => {
                    ask.foreign += 1;
                    if matches!(c, '\u{2E80}'..='\u{9FFF}' | '\u{0E00}'..='\u{0E7F}') {
                        unspaced += 1;
                    }
                }
                _ => {}
            }
            if matches!(c, '.' | '!' | '?' | '。' | '！' | '？' | '\n') {
                ask.longest_sentence = ask.longest_sentence.max(sentence);
                sentence = 0;
            }
            ask.words += usize::from(!c.is_whitespace() && !in_word);
            in_word = !c.is_whitespace();
        }
        ask.longest_sentence = ask.longest_sentence.max(sentence);
        ask.words += unspaced / 2;
        ask.read_lines(&text);
        ask.text = text.into_owned();
        ask
    }

    fn read_lines(&mut self, text: &str) {
        let mut fenced = false;
        for line in text.lines() {
            let bare = line.trim();
            if bare.starts_with("```") {
                fenced = !fenced;
                self.fenced += 1;
                continue;
            }
            if bare.is_empty() {
                continue;
            }
            self.lines += 1;
            self.fenced += usize::from(fenced);
            self.indented += usize::from(line.starts_with("  ") || line.starts_with('\t'));
            self.items += usize::from(is_item(bare));
            self.options += usize::from(is_option(bare));
            self.traces += usize::from(is_trace(bare));
            self.diff += usize::from(
                bare.starts_with("@@ ")
                    || bare.starts_with("+++ ")
                    || bare.starts_with("--- a/")
                    || bare.starts_with("diff --git"),
            );
            let marks = |m: char| bare.matches(m).count();
            self.rows += usize::from(
                marks('|') >= 2
                    || marks('\t') >= 2
                    || (marks(',') >= 3 && !bare.ends_with('.') && marks(' ') <= marks(',') * 2),
            );
        }
    }

    /// Neither a question nor a word that names a task, nor code, nor numbers to work on.
    fn asks_for_nothing(&self) -> bool {
        self.questions == 0
            && self.fenced == 0
            && self.operators < 2
            && self.cues.iter().all(|c| *c < 1.0)
    }
}

/// The words of a turn; boilerplate is taken out, tool results are not the user's.
fn words_of(turn: &Turn<'_>) -> String {
    let texts = turn.parts.iter().filter_map(|p| match p {
        Part::Text(text) => Some(without_boilerplate(text)),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn has_result(turn: &Turn<'_>) -> bool {
    turn.parts.iter().any(|p| matches!(p, Part::ToolResult(_)))
}

fn without_boilerplate(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for (open, close) in BOILERPLATE {
        while let Some(start) = text.find(open) {
            let end = text[start..]
                .find(close)
                .map_or(text.len(), |at| start + at + close.len());
            text = Cow::Owned(format!("{}{}", &text[..start], &text[end..]));
        }
    }
    text
}

fn bytes_of(prompt: &Prompt<'_>) -> u64 {
    let parts = prompt.turns.iter().flat_map(|t| &t.parts).map(|p| match p {
        Part::Text(text) | Part::ToolResult(text) => text.len(),
        _ => 0,
    });
    let all = parts.sum::<usize>() + prompt.system.iter().map(|s| s.len()).sum::<usize>();
    u64::try_from(all).unwrap_or(u64::MAX)
}

/// The beginning and the end of a long text.
fn sampled(text: &str) -> Cow<'_, str> {
    if text.len() <= LOOK_MAX {
        return Cow::Borrowed(text);
    }
    let head = text.floor_char_boundary(LOOK_MAX / 2);
    let tail = text.ceil_char_boundary(text.len() - LOOK_MAX / 2);
    Cow::Owned(format!("{}\n\n{}", &text[..head], &text[tail..]))
}

fn is_item(line: &str) -> bool {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let after = &line[digits..];
    (1..=3).contains(&digits)
        && (after.starts_with(". ") || after.starts_with(") ") || after.starts_with('、'))
        || ["- ", "* ", "• ", "– "].iter().any(|b| line.starts_with(b))
}

fn is_option(line: &str) -> bool {
    let line = line.trim_start_matches('(');
    let mut chars = line.chars();
    matches!(
        (chars.next(), chars.next()),
        (Some('A'..='J'), Some('.' | ')' | ':'))
    ) && line.len() > 3
}

fn is_trace(line: &str) -> bool {
    const STARTS: [&str; 9] = [
        "Traceback (",
        "at ",
        "File \"",
        "thread '",
        "error[",
        "Caused by",
        "panic:",
        "goroutine ",
        "Exception in",
    ];
    const PIECES: [&str; 13] = [
        "Error:",
        "Exception:",
        "panicked at",
        "error TS",
        "Segmentation fault",
        "core dumped",
        "undefined reference",
        "exit code",
        "exit status",
        "NullPointerException",
        "stack trace",
        "SIGSEGV",
        "Uncaught",
    ];
    (STARTS.iter().any(|s| line.starts_with(s))
        && (!line.starts_with("at ") || line.contains(':') || line.contains('(')))
        || PIECES.iter().any(|p| line.contains(p))
}
