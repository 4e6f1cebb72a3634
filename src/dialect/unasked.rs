//! Takes out of an answer how likely its tokens were, where flyball has asked for that and the client has not.

use super::{Dialect, Event, StreamFilter, StreamWriter};
use bytes::Bytes;
use memchr::memmem;

/// A longer line goes on as it came.
const LINE_MAX: usize = 1024 * 1024;

/// A whole answer without it; what is no JSON stays as it is.
#[must_use]
pub fn stripped(dialect: &dyn Dialect, body: Bytes) -> Bytes {
    let Ok(mut answer) = serde_json::from_slice(&body) else {
        return body;
    };
    dialect.strip_logprobs(&mut answer);
    Bytes::from(answer.to_string())
}

/// Takes it out of a stream whose events are one line of JSON each, after `data:` or alone. Every other line goes on as it came.
pub struct HideLogprobs {
    dialect: &'static dyn Dialect,
    /// The beginning of a line whose end has not come.
    held: Vec<u8>,
    /// The line is too long to be held: its rest goes on.
    too_long: bool,
}

impl HideLogprobs {
    /// Of a stream in this dialect.
    #[must_use]
    pub fn new(dialect: &'static dyn Dialect) -> HideLogprobs {
        HideLogprobs {
            dialect,
            held: Vec::new(),
            too_long: false,
        }
    }

    /// One line, with its end.
    fn line(&self, line: &[u8], out: &mut Vec<u8>) {
        match self.changed(line) {
            Some(changed) => out.extend_from_slice(&changed),
            None => out.extend_from_slice(line),
        }
    }

    fn changed(&self, line: &[u8]) -> Option<Vec<u8>> {
        memmem::find(line, b"ogprobs")?;
        let text = std::str::from_utf8(line).ok()?;
        let start = text.find('{')?;
        let end = text.rfind('}')? + 1;
        let mut event = serde_json::from_str(text.get(start..end)?).ok()?;
        self.dialect.strip_logprobs(&mut event);
        Some(format!("{}{event}{}", &text[..start], &text[end..]).into_bytes())
    }
}

impl StreamFilter for HideLogprobs {
    fn feed(&mut self, bytes: Bytes) -> Bytes {
        let mut out = Vec::with_capacity(bytes.len());
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ends = piece.ends_with(b"\n");
            if self.too_long {
                out.extend_from_slice(piece);
                self.too_long = !ends;
                continue;
            }
            self.held.extend_from_slice(piece);
            if ends {
                let line = std::mem::take(&mut self.held);
                self.line(&line, &mut out);
            } else if self.held.len() > LINE_MAX {
                out.append(&mut self.held);
                self.too_long = true;
            }
        }
        Bytes::from(out)
    }

    fn finish(&mut self) -> Bytes {
        let line = std::mem::take(&mut self.held);
        let mut out = Vec::new();
        self.line(&line, &mut out);
        Bytes::from(out)
    }
}

/// Filters one after the other.
pub struct Filters(pub Vec<Box<dyn StreamFilter>>);

impl StreamFilter for Filters {
    fn feed(&mut self, bytes: Bytes) -> Bytes {
        let filters = self.0.iter_mut();
        filters.fold(bytes, |bytes, filter| filter.feed(bytes))
    }

    fn finish(&mut self) -> Bytes {
        let mut rest = Bytes::new();
        for filter in &mut self.0 {
            let mut out = filter.feed(rest).to_vec();
            out.extend_from_slice(&filter.finish());
            rest = Bytes::from(out);
        }
        rest
    }

    fn fail(&mut self, event: Bytes) -> Bytes {
        let filters = self.0.iter_mut();
        filters.fold(event, |event, filter| filter.fail(event))
    }
}

/// A writer to a client that has not asked how likely the tokens were.
pub struct WithoutLogprobs(pub Box<dyn StreamWriter>);

impl StreamWriter for WithoutLogprobs {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        if !matches!(event, Event::Logprobs(_)) {
            self.0.write(event, out);
        }
    }

    fn alive(&mut self, out: &mut Vec<u8>) {
        self.0.alive(out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.0.finish(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::named;

    #[test]
    fn probabilities_are_taken_out_of_a_stream_that_comes_in_pieces_and_nothing_else_is() {
        let chat = named("openai_chat").expect("it is one");
        let told = concat!(
            r#"data: {"choices":[{"delta":{"content":"a \"logprobs\" b"},"logprobs":{"content":[{"token":"a","logprob":-0.5}]}}]}"#,
            "\n\n: alive\n\ndata: [DONE]\n\n"
        );
        let wanted = concat!(
            r#"data: {"choices":[{"delta":{"content":"a \"logprobs\" b"},"logprobs":null}]}"#,
            "\n\n: alive\n\ndata: [DONE]\n\n"
        );
        for size in [1, 7, 1_000] {
            let mut filter = HideLogprobs::new(chat);
            let mut out = Vec::new();
            for piece in told.as_bytes().chunks(size) {
                out.extend_from_slice(&filter.feed(Bytes::copy_from_slice(piece)));
            }
            out.extend_from_slice(&filter.finish());
            assert_eq!(String::from_utf8_lossy(&out), wanted, "pieces of {size}");
        }
    }
}
