//! What an answer shows of itself: first what is plainly wrong with it, then how likely its own tokens were.

use super::calibration::Signal;
use super::error_text;
use crate::chat::answer::{Event, Finish, Token};
use crate::json;
use bytes::Bytes;
use serde_json::Value;

/// Text of an answer that is looked at; what comes after is not.
const TEXT_MAX: usize = 64 * 1024;
/// Calls of tools that are looked at; what comes after is not.
const CALLS_MAX: usize = 128;
/// Tokens whose probabilities are looked at.
const TOKENS_MAX: usize = 4_096;
/// An answer of no more tokens is judged as a whole: by the probability of all of them together.
const SHORT: usize = 8;
/// Of a longer one its unlikeliest tokens are looked at, this part of them, and no fewer than [`UNLIKELY_LEAST`].
const UNLIKELY_PART: usize = 10;
/// See [`UNLIKELY_PART`].
const UNLIKELY_LEAST: usize = 3;
/// A piece of text that comes so often in a row is repetition.
const REPEATS: usize = 8;
/// Lengths of pieces, in characters, whose repetition is looked for.
const PIECES: [usize; 5] = [12, 20, 33, 54, 88];

/// The probability that a yes or a no is taken to have whose own is not told.
const SAID: f64 = 0.95;

/// What was found when an answer was looked at. A closed set: the books, the metrics and headers rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sign {
    /// The probability of a short answer.
    Answer,
    /// The probability of the unlikeliest tokens of a longer one.
    Tokens,
    /// The probability that a model gives to its being right.
    Asked,
    /// Nothing: no probability was told, and nothing is plainly wrong.
    Silent,
    /// It says nothing.
    Empty,
    /// All that it says is that a server has failed.
    ErrorText,
    /// The model declines, or a filter ended it.
    Refused,
    /// Its limit of tokens was used up before a word was said.
    CutInThinking,
    /// It is no JSON, and was to be.
    NotJson,
    /// It is JSON, but not by the schema that was demanded.
    OffSchema,
    /// It calls a tool with what is no JSON, or not by the tool's schema.
    BadArguments,
    /// It was to call a tool, and calls none.
    NoCall,
    /// It says the same again and again.
    Repeats,
    /// The model's server has failed.
    Failed,
}

impl Sign {
    /// Every sign.
    pub const ALL: [Sign; 14] = [
        Sign::Answer,
        Sign::Tokens,
        Sign::Asked,
        Sign::Silent,
        Sign::Empty,
        Sign::ErrorText,
        Sign::Refused,
        Sign::CutInThinking,
        Sign::NotJson,
        Sign::OffSchema,
        Sign::BadArguments,
        Sign::NoCall,
        Sign::Repeats,
        Sign::Failed,
    ];

    /// The name in the books, the export, headers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Sign::Answer => "answer",
            Sign::Tokens => "tokens",
            Sign::Asked => "asked",
            Sign::Silent => "silent",
            Sign::Empty => "empty",
            Sign::ErrorText => "error_text",
            Sign::Refused => "refused",
            Sign::CutInThinking => "cut_in_thinking",
            Sign::NotJson => "not_json",
            Sign::OffSchema => "off_schema",
            Sign::BadArguments => "bad_arguments",
            Sign::NoCall => "no_call",
            Sign::Repeats => "repeats",
            Sign::Failed => "failed",
        }
    }

    /// The sign of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Sign> {
        Sign::ALL.into_iter().find(|s| s.name() == name)
    }

    /// What its probability is of, where it is a sign of one.
    #[must_use]
    pub fn signal(self) -> Option<Signal> {
        match self {
            Sign::Answer => Some(Signal::Answer),
            Sign::Tokens => Some(Signal::Tokens),
            Sign::Asked => Some(Signal::Asked),
            _ => None,
        }
    }

    /// Something is plainly wrong with the answer.
    #[must_use]
    pub fn is_fault(self) -> bool {
        self.signal().is_none() && self != Sign::Silent
    }
}

/// What an answer shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// What was found.
    pub sign: Sign,
    /// The natural logarithm of the probability, where the sign is of one.
    pub logprob: Option<f64>,
}

impl Evidence {
    fn of(sign: Sign) -> Evidence {
        Evidence {
            sign,
            logprob: None,
        }
    }
}

/// What is wanted of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// It is to be JSON.
    pub json: bool,
    /// By this schema, where one was given.
    pub schema: Option<Value>,
    /// The tools that it may call.
    pub tools: Vec<Offered>,
    /// It is to call a tool.
    pub call: bool,
    /// What is asked may be answered with a server's error.
    pub about_errors: bool,
    /// The request as the client sent it.
    pub request: Bytes,
    /// It is to tell how likely its tokens were.
    pub logprobs: bool,
}

/// A tool that an answer may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Offered {
    /// What the model calls it.
    pub name: String,
    /// What its arguments are to be.
    pub arguments: Arguments,
}

/// What the arguments of a tool are to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Arguments {
    /// JSON by this schema.
    Schema(Value),
    /// Any words.
    Words,
}

/// A call of a tool, as far as it has come.
#[derive(Debug)]
struct CallSoFar {
    index: u64,
    tool: String,
    arguments: String,
    /// There was more of them than is kept.
    more: bool,
}

/// Looks at an answer as it comes. What it keeps is bounded.
#[derive(Debug, Default)]
pub struct Witness {
    wanted: Wanted,
    text: String,
    /// There was more text than is kept.
    more: bool,
    logprobs: Vec<f64>,
    /// Pieces of text that have come.
    pieces: usize,
    calls: Vec<CallSoFar>,
    thoughts: bool,
    refused: bool,
    failed: bool,
    /// What comes belongs to one of several answers after the first; those are not looked at.
    other: bool,
    finish: Option<Finish>,
    ended: bool,
}

impl Witness {
    /// Looks at an answer of which this is wanted.
    #[must_use]
    pub fn new(wanted: Wanted) -> Witness {
        Witness {
            wanted,
            ..Witness::default()
        }
    }

    /// It was asked how likely its tokens were.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.wanted.logprobs
    }

    /// Takes note of what the answer says.
    pub fn saw(&mut self, event: &Event) {
        if let Event::Choice(choice) = event {
            self.other = *choice > 0;
        }
        if self.other {
            return;
        }
        match event {
            Event::Text(text) => {
                self.pieces += usize::from(!text.is_empty());
                match self.text.len() + text.len() <= TEXT_MAX {
                    true => self.text.push_str(text),
                    false => self.more = true,
                }
            }
            Event::Reasoning(text) => self.thoughts |= !text.is_empty(),
            Event::Refusal(_) => self.refused = true,
            Event::Call { index, name, .. } if self.calls.len() < CALLS_MAX => {
                self.calls.push(CallSoFar {
                    index: *index,
                    tool: name.clone(),
                    arguments: String::new(),
                    more: false,
                });
            }
            Event::Arguments { index, text } => {
                let mut calls = self.calls.iter_mut();
                if let Some(call) = calls.find(|call| call.index == *index) {
                    match call.arguments.len() + text.len() <= TEXT_MAX {
                        true => call.arguments.push_str(text),
                        false => call.more = true,
                    }
                }
            }
            Event::Logprobs(tokens) => {
                let room = TOKENS_MAX.saturating_sub(self.logprobs.len());
                let likely = tokens.iter().filter_map(probability).take(room);
                self.logprobs.extend(likely);
            }
            Event::Finish(finish) => self.finish = Some(finish.clone()),
            Event::Error(_) => self.failed = true,
            Event::End => self.ended = true,
            Event::Choice(_)
            | Event::Call { .. }
            | Event::State(_)
            | Event::Citation(_)
            | Event::Usage(_)
            | Event::Model(_) => {}
        }
    }

    /// How many tokens of the answer have come: those whose probability was told, else about as many as pieces of text came.
    #[must_use]
    pub fn tokens(&self) -> usize {
        match self.logprobs.len() {
            0 => self.pieces,
            told => told,
        }
    }

    /// The model calls a tool.
    #[must_use]
    pub fn calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// The answer has come to its end.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.finish.is_some() || self.ended || self.failed
    }

    /// What its text is, as far as it is kept.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What a reply of yes or no says of another answer: how likely that one is right. `None` where it says neither.
    #[must_use]
    pub fn confirmed(&self) -> Option<Evidence> {
        let words = self.text.split(|c: char| !c.is_alphabetic());
        let word = words.into_iter().find(|word| !word.is_empty())?;
        let told = self.logprobs.first().map_or(SAID, |logprob| logprob.exp());
        let right = match word.to_lowercase().as_str() {
            "yes" => told,
            "no" => 1.0 - told,
            _ => return None,
        };
        Some(Evidence {
            sign: Sign::Asked,
            logprob: Some(right.max(1e-9).ln()),
        })
    }

    /// What the answer shows. `whole`: nothing more of it will come.
    #[must_use]
    pub fn evidence(&self, whole: bool) -> Evidence {
        if let Some(fault) = self.fault(whole) {
            return Evidence::of(fault);
        }
        let tokens = self.logprobs.len();
        if tokens == 0 {
            return Evidence::of(Sign::Silent);
        }
        let short = whole && tokens <= SHORT;
        Evidence {
            sign: if short { Sign::Answer } else { Sign::Tokens },
            logprob: Some(match short {
                true => self.logprobs.iter().sum(),
                false => self.unlikeliest(),
            }),
        }
    }

    /// The mean of the unlikeliest tokens.
    fn unlikeliest(&self) -> f64 {
        let mut sorted = self.logprobs.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.truncate((sorted.len() / UNLIKELY_PART).max(UNLIKELY_LEAST));
        let count = f64::from(u32::try_from(sorted.len()).unwrap_or(u32::MAX));
        sorted.iter().sum::<f64>() / count
    }

    fn fault(&self, whole: bool) -> Option<Sign> {
        let says_nothing = self.text.trim().is_empty() && self.calls.is_empty();
        let form = whole.then(|| self.flaw_of_form()).flatten();
        let found = [
            (Sign::Failed, self.failed),
            (Sign::Refused, self.refused || self.declined()),
            (
                Sign::CutInThinking,
                whole && says_nothing && self.thoughts | self.is_cut(),
            ),
            (Sign::Empty, whole && says_nothing),
            (Sign::ErrorText, whole && self.is_error_text()),
            (Sign::BadArguments, whole && self.has_bad_arguments()),
            (
                Sign::NoCall,
                whole && self.wanted.call && self.calls.is_empty(),
            ),
            (Sign::NotJson, form == Some(Sign::NotJson)),
            (Sign::OffSchema, form == Some(Sign::OffSchema)),
            (Sign::Repeats, self.repeats()),
        ];
        let found = found.into_iter().find(|(_, holds)| *holds);
        found.map(|(sign, _)| sign)
    }

    fn is_cut(&self) -> bool {
        self.finish == Some(Finish::Length)
    }

    fn declined(&self) -> bool {
        matches!(self.finish, Some(Finish::Refused | Finish::Filtered))
    }

    fn is_error_text(&self) -> bool {
        let judged = !self.wanted.about_errors && !self.more && self.calls.is_empty();
        judged && error_text::is_error(&self.text, &self.wanted.request)
    }

    /// A tool without parameters is called with nothing. Several tools may have one name, in groups of their own.
    fn has_bad_arguments(&self) -> bool {
        let mut calls = self.calls.iter().filter(|call| !call.more);
        calls.any(|call| {
            let text = match call.arguments.trim() {
                "" => "{}",
                text => text,
            };
            let tools = self.wanted.tools.iter();
            let mut offered = tools.filter(|tool| tool.name == call.tool).peekable();
            match (offered.peek(), serde_json::from_str(text)) {
                (None, read) => read.is_err(),
                (Some(_), read) => offered.all(|tool| match (&tool.arguments, &read) {
                    (Arguments::Words, _) => false,
                    (Arguments::Schema(_), Err(_)) => true,
                    (Arguments::Schema(schema), Ok(value)) => json::breaks(schema, value),
                }),
            }
        })
    }

    /// What is wrong with an answer that was to be JSON. One that calls a tool first, or is longer than what is kept, is not judged by this.
    fn flaw_of_form(&self) -> Option<Sign> {
        let text = self.text.trim();
        if !self.wanted.json || self.more || !self.calls.is_empty() {
            return None;
        }
        match &self.wanted.schema {
            None => (!is_json(text)).then_some(Sign::NotJson),
            Some(schema) => match serde_json::from_str(text) {
                Err(_) => Some(Sign::NotJson),
                Ok(value) => json::breaks(schema, &value).then_some(Sign::OffSchema),
            },
        }
    }

    /// The text ends in a piece that comes again and again.
    fn repeats(&self) -> bool {
        let end: Vec<char> = self
            .text
            .chars()
            .rev()
            .take(PIECES[PIECES.len() - 1] * REPEATS)
            .collect();
        (1..=PIECES[PIECES.len() - 1])
            .filter(|length| *length >= PIECES[0])
            .any(|length| {
                let enough = end.len() >= length * REPEATS;
                enough && (length..length * REPEATS).all(|at| end[at] == end[at - length])
            })
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// A token's log-probability, where that is one. Some servers tell 0 or a positive number for what they do not know.
fn probability(token: &Token) -> Option<f64> {
    let told = token.logprob.as_f64()?;
    (told.is_finite() && told <= 1e-6).then(|| told.min(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(logprobs: &[f64]) -> Event {
        let token = |logprob: &f64| Token {
            text: "t".into(),
            bytes: None,
            logprob: serde_json::Number::from_f64(*logprob).expect("finite"),
            top: Vec::new(),
        };
        Event::Logprobs(logprobs.iter().map(token).collect())
    }

    fn seen(json: bool, events: &[Event]) -> Witness {
        let mut witness = Witness::new(Wanted {
            json,
            ..Wanted::default()
        });
        events.iter().for_each(|event| witness.saw(event));
        witness
    }

    #[test]
    fn a_short_answer_is_as_likely_as_all_of_its_tokens_and_a_longer_one_as_its_unlikeliest() {
        let said = Event::Text("Paris".into());
        let short = seen(false, &[said.clone(), tokens(&[-0.1, -0.2])]).evidence(true);
        assert_eq!(short.sign, Sign::Answer);
        assert!((short.logprob.expect("told") + 0.3).abs() < 1e-9);
        let mut many = vec![-0.01; 40];
        many[7..11].fill(-2.0);
        let long = seen(false, &[said, tokens(&many)]).evidence(true);
        assert_eq!((long.sign, long.logprob), (Sign::Tokens, Some(-2.0)));
    }

    #[test]
    fn what_is_plainly_wrong_goes_before_how_likely_it_was() {
        let sure = tokens(&[-0.001]);
        let text = |text: &str| Event::Text(text.into());
        let call = |arguments: &str| {
            let call = Event::Call {
                index: 0,
                id: String::new(),
                name: "f".into(),
            };
            let text = arguments.to_owned();
            vec![call, Event::Arguments { index: 0, text }]
        };
        for (json, events, sign) in [
            (false, vec![], Sign::Empty),
            (
                false,
                vec![Event::Finish(Finish::Length)],
                Sign::CutInThinking,
            ),
            (
                false,
                vec![Event::Reasoning("hm".into())],
                Sign::CutInThinking,
            ),
            (false, vec![Event::Refusal("no".into())], Sign::Refused),
            (
                false,
                vec![text("x"), Event::Finish(Finish::Filtered)],
                Sign::Refused,
            ),
            (true, vec![text("{\"a\": ")], Sign::NotJson),
            (true, vec![text("{\"a\": 1}")], Sign::Answer),
            (false, call("{\"a\": "), Sign::BadArguments),
            (false, call(""), Sign::Answer),
            (true, call("{}"), Sign::Answer),
            (
                false,
                vec![text(&"again and again ".repeat(9))],
                Sign::Repeats,
            ),
            (
                false,
                vec![text("x"), Event::Error("overloaded".into())],
                Sign::Failed,
            ),
        ] {
            let mut events = events;
            events.push(sure.clone());
            let found = seen(json, &events).evidence(true).sign;
            assert_eq!(found, sign, "{events:?}");
        }
    }

    #[test]
    fn what_is_no_probability_is_no_evidence() {
        let said = Event::Text("Paris".into());
        let found = seen(false, &[said.clone(), tokens(&[0.5, 3.0])]).evidence(true);
        assert_eq!((found.sign, found.logprob), (Sign::Silent, None));
        assert_eq!(seen(false, &[said]).evidence(true).sign, Sign::Silent);
    }

    #[test]
    fn an_answer_without_the_call_that_was_demanded_is_none() {
        let mut witness = Witness::new(Wanted {
            call: true,
            ..Wanted::default()
        });
        witness.saw(&Event::Text("It rains.".into()));
        assert_eq!(witness.evidence(true).sign, Sign::NoCall);
        assert_eq!(
            witness.evidence(false).sign,
            Sign::Silent,
            "it may still come"
        );
    }

    #[test]
    fn only_the_first_of_several_answers_is_looked_at() {
        let events = [
            Event::Text("one".into()),
            Event::Choice(1),
            Event::Refusal("no".into()),
        ];
        assert_eq!(seen(false, &events).evidence(true).sign, Sign::Silent);
    }

    #[test]
    fn a_sign_is_read_back_from_its_name() {
        for sign in Sign::ALL {
            assert_eq!(Sign::parse(sign.name()), Some(sign));
        }
    }
}
