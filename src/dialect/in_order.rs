//! Calls of tools one after the other, for clients whose dialect has room for one at a time. A model may say the pieces of
//! several in any order: the first one is told as it comes, those behind it once it is complete.

use super::{Event, StreamWriter};

/// The most that calls behind the first one may hold.
const HELD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A call that cannot be told as the model meant it: better an error than half of its arguments.
pub(super) const LATE: &str =
    "the model went on with the arguments of a tool call after it had said something else";

/// A writer that is told one call after the other.
pub(super) struct InOrder<W> {
    writer: W,
    /// The call that is being told.
    open: Option<u64>,
    /// The calls that are told to their end.
    told: Vec<u64>,
    /// The calls behind it, each with what of its arguments came.
    held: Vec<HeldCall>,
    bytes: usize,
}

struct HeldCall {
    index: u64,
    call: Event,
    arguments: String,
}

impl<W> InOrder<W> {
    pub(super) fn new(writer: W) -> InOrder<W> {
        InOrder {
            writer,
            open: None,
            told: Vec::new(),
            held: Vec::new(),
            bytes: 0,
        }
    }
}

impl<W: StreamWriter> InOrder<W> {
    fn hold(&mut self, index: u64, text: &str, out: &mut Vec<u8>) {
        let Some(held) = self.held.iter_mut().find(|held| held.index == index) else {
            let late = self.told.contains(&index) && !text.trim().is_empty();
            if late {
                self.writer.write(Event::Error(LATE.into()), out);
            }
            return;
        };
        self.bytes += text.len();
        if self.bytes > HELD_BYTES_MAX {
            self.held.clear();
            let why = "the arguments of a tool call are too long";
            return self.writer.write(Event::Error(why.into()), out);
        }
        held.arguments.push_str(text);
    }

    /// What is said next is no part of these calls.
    fn release(&mut self, out: &mut Vec<u8>) {
        self.told.extend(self.open.take());
        self.bytes = 0;
        for held in std::mem::take(&mut self.held) {
            self.told.push(held.index);
            self.writer.write(held.call, out);
            if !held.arguments.is_empty() {
                let (index, text) = (held.index, held.arguments);
                self.writer.write(Event::Arguments { index, text }, out);
            }
        }
    }
}

impl<W: StreamWriter> StreamWriter for InOrder<W> {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Call { index, .. } if self.open.is_some() => self.held.push(HeldCall {
                index,
                call: event,
                arguments: String::new(),
            }),
            Event::Call { index, .. } => {
                self.open = Some(index);
                self.writer.write(event, out);
            }
            Event::Arguments { index, ref text } if self.open != Some(index) => {
                self.hold(index, text, out);
            }
            Event::Arguments { .. } | Event::Usage(_) | Event::Model(_) => {
                self.writer.write(event, out);
            }
            _ => {
                self.release(out);
                self.writer.write(event, out);
            }
        }
    }

    fn alive(&mut self, out: &mut Vec<u8>) {
        self.writer.alive(out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.release(out);
        self.writer.finish(out);
    }
}

#[cfg(test)]
mod tests {
    use crate::dialect::{Event, Finish, Frame, named};

    fn call(index: u64) -> Event {
        let (id, name) = (format!("c{index}"), "f".to_owned());
        Event::Call { index, id, name }
    }

    fn more(index: u64, text: &str) -> Event {
        let text = text.to_owned();
        Event::Arguments { index, text }
    }

    #[test]
    fn calls_whose_pieces_cross_reach_a_client_one_after_the_other() {
        let events = [
            call(0),
            more(0, "{\"a\""),
            call(1),
            more(1, "{"),
            more(0, ":1}"),
            call(2),
            more(1, "}"),
            more(2, "{}"),
            Event::Text("Well.".into()),
            call(3),
            more(3, "{}"),
        ];
        for (dialect, begins, ends) in [
            (
                "anthropic_messages",
                "event: content_block_start",
                "event: content_block_stop",
            ),
            (
                "openai_responses",
                "event: response.output_item.added",
                "event: response.output_item.done",
            ),
            (
                "cohere_chat",
                "event: tool-call-start",
                "event: tool-call-end",
            ),
        ] {
            let dialect = named(dialect).expect("it is one");
            let mut writer = dialect.stream_writer(Frame::default());
            let mut out = Vec::new();
            events
                .iter()
                .for_each(|event| writer.write(event.clone(), &mut out));
            writer.finish(&mut out);
            let text = String::from_utf8(out).expect("text");
            let mut open = 0;
            for line in text.lines() {
                open += i32::from(line == begins) - i32::from(line == ends);
                assert!((0..2).contains(&open), "{}: {text}", dialect.name());
            }
            let mut decoder = dialect.stream(crate::dialect::UsageRule::Dialect);
            let mut heard = crate::dialect::Answer::default();
            decoder.feed(text.as_bytes(), &mut |event| heard.add(event));
            assert_eq!(
                heard.words(),
                "f{\"a\":1}f{}f{}Well.f{}",
                "{}",
                dialect.name()
            );
        }
    }

    #[test]
    fn arguments_that_come_too_late_are_an_error_and_not_half_a_call() {
        for dialect in [
            "anthropic_messages",
            "openai_responses",
            "cohere_chat",
            "ollama_chat",
            "gemini",
        ] {
            for (late, fails) in [("\"b\":2}", true), (" ", false)] {
                let dialect = named(dialect).expect("there is one");
                let mut writer = dialect.stream_writer(Frame::default());
                let mut out = Vec::new();
                for event in [
                    call(0),
                    more(0, "{\"a\":1,"),
                    call(1),
                    more(1, "{}"),
                    Event::Text("Well.".into()),
                    more(0, late),
                    Event::Finish(Finish::Calls),
                ] {
                    writer.write(event, &mut out);
                }
                writer.finish(&mut out);
                let text = String::from_utf8(out).expect("text");
                assert_eq!(text.contains(super::LATE), fails, "{text}");
            }
        }
    }
}
