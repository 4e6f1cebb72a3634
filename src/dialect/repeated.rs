//! Streams say one word after the other in frames that differ in nothing else. Once two frames were read in full that differ in one
//! string alone, and each of them said that string and nothing more, the next frame of that form needs no reading.

use super::Event;
use super::sse::SseEvent;
use memchr::memmem;

/// Frames without a form after which none is looked for: a stream in which nothing repeats costs no more than that.
const TRIES_MAX: u8 = 16;

/// The form that the frames of a stream have.
#[derive(Default)]
pub(super) struct Repeated {
    form: Option<Form>,
    /// Frames since the last one of a known form.
    tries: u8,
}

struct Form {
    name: Vec<u8>,
    /// All before the words, their opening quote included.
    before: Vec<u8>,
    /// All after the words, their closing quote included.
    after: Vec<u8>,
    says: Says,
    /// The words in which it was found; none once another frame has shown that they alone decide what is said.
    words: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Text,
    Reasoning,
}

impl Says {
    fn event(self, words: &str) -> Event {
        match self {
            Says::Text => Event::Text(words.to_owned()),
            Says::Reasoning => Event::Reasoning(words.to_owned()),
        }
    }
}

/// What one frame has said, as far as it matters here.
#[derive(Default)]
struct FrameSaid {
    words: Option<(Says, String)>,
    events: usize,
}

impl FrameSaid {
    fn note(&mut self, event: &Event) {
        self.events += 1;
        self.words = match event {
            Event::Text(words) => Some((Says::Text, words.clone())),
            Event::Reasoning(words) => Some((Says::Reasoning, words.clone())),
            _ => None,
        };
    }

    fn only(self) -> Option<(Says, String)> {
        self.words.filter(|_| self.events == 1)
    }
}

impl Repeated {
    /// What a frame says, where it is of the form of those before it.
    fn says(&self, frame: &SseEvent<'_>) -> Option<Event> {
        let form = self.form.as_ref().filter(|form| form.words.is_none())?;
        Some(form.says.event(form.words_of(frame)?))
    }

    /// Reads a frame by its form, else in full.
    pub(super) fn read(
        &mut self,
        frame: SseEvent<'_>,
        on: &mut dyn FnMut(Event),
        in_full: impl FnOnce(SseEvent<'_>, &mut dyn FnMut(Event)),
    ) {
        if let Some(event) = self.says(&frame) {
            return on(event);
        }
        if self.tries >= TRIES_MAX {
            return in_full(frame, on);
        }
        let mut told = FrameSaid::default();
        in_full(frame, &mut |event| {
            told.note(&event);
            on(event);
        });
        self.learn(&frame, told);
    }

    /// Takes note of a frame that was read in full, and of what it said. A frame of another form may have changed what the next one means,
    /// so what was known of the form before it is forgotten.
    fn learn(&mut self, frame: &SseEvent<'_>, told: FrameSaid) {
        self.tries += 1;
        let form = self.form.take();
        let Some((says, words)) = told.only() else {
            return;
        };
        let same = |form: &Form| form.says == says && form.words_of(frame) == Some(&words);
        self.form = match form.filter(same) {
            Some(mut form) => {
                // The same words once more prove nothing: what is said may stand elsewhere.
                if form.words.as_ref().is_some_and(|first| *first != words) {
                    form.words = None;
                    self.tries = 0;
                }
                Some(form)
            }
            None => Form::of(frame, says, words),
        };
    }
}

impl Form {
    /// The form of a frame, where what it says stands in it once, and as it is.
    fn of(frame: &SseEvent<'_>, says: Says, words: String) -> Option<Form> {
        let quoted = format!("\"{words}\"");
        let mut places = memmem::find_iter(frame.data, quoted.as_bytes());
        let (Some(at), None) = (places.next(), places.next()) else {
            return None;
        };
        let (start, end) = (at + 1, at + 1 + words.len());
        Some(Form {
            name: frame.name.to_vec(),
            before: frame.data[..start].to_vec(),
            after: frame.data[end..].to_vec(),
            says,
            words: Some(words),
        })
    }

    /// The words of a frame that is of this form: a string without escapes that is not empty.
    fn words_of<'f>(&self, frame: &SseEvent<'f>) -> Option<&'f str> {
        if frame.name != self.name {
            return None;
        }
        let rest = frame.data.strip_prefix(&*self.before)?;
        let words = rest.strip_suffix(&*self.after)?;
        let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
        let plain = !words.is_empty() && words.iter().all(plain);
        std::str::from_utf8(words).ok().filter(|_| plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(data: &str) -> SseEvent<'_> {
        SseEvent {
            name: b"",
            data: data.as_bytes(),
        }
    }

    fn read(repeated: &mut Repeated, data: &str, events: &[Event]) {
        let mut told = FrameSaid::default();
        events.iter().for_each(|event| told.note(event));
        repeated.learn(&frame(data), told);
    }

    fn text(words: &str) -> Event {
        Event::Text(words.to_owned())
    }

    #[test]
    fn the_third_frame_of_a_form_is_known_by_its_words_alone() {
        let mut repeated = Repeated::default();
        let data = |words: &str| format!("{{\"n\":1,\"t\":\"{words}\",\"f\":null}}");
        read(&mut repeated, &data("one"), &[text("one")]);
        assert!(
            repeated.says(&frame(&data("two"))).is_none(),
            "one proves nothing"
        );
        read(&mut repeated, &data("one"), &[text("one")]);
        assert!(
            repeated.says(&frame(&data("two"))).is_none(),
            "nor does the same"
        );
        read(&mut repeated, &data("two"), &[text("two")]);
        assert_eq!(
            repeated.says(&frame(&data("drei \u{fc}"))),
            Some(text("drei \u{fc}"))
        );
        for other in [
            data(""),
            data("a\\nb"),
            data("a\",\"f\":\"b"),
            data("a\u{1}"),
            data("x").replace("null", "true"),
            data("x").replace("\"n\":1", "\"n\":2"),
        ] {
            assert!(repeated.says(&frame(&other)).is_none(), "{other}");
        }
        let mut between = Repeated::default();
        read(&mut between, &data("one"), &[text("one")]);
        read(&mut between, &data("two"), &[text("two")]);
        assert!(between.says(&frame(&data("x"))).is_some());
        read(&mut between, "{}", &[Event::Choice(1)]);
        assert!(
            between.says(&frame(&data("x"))).is_none(),
            "another one came between"
        );
        let named = SseEvent {
            name: b"other",
            ..frame("")
        };
        let data = data("x");
        assert!(
            repeated
                .says(&SseEvent {
                    data: data.as_bytes(),
                    ..named
                })
                .is_none()
        );
        let torn = data.replace('x', "\u{fc}");
        let torn: Vec<u8> = torn.bytes().filter(|byte| *byte != 0xbc).collect();
        assert!(
            repeated
                .says(&SseEvent {
                    data: &torn,
                    name: b""
                })
                .is_none()
        );
    }

    #[test]
    fn what_says_more_or_stands_elsewhere_makes_no_form() {
        for (first, second, events) in [
            (
                "{\"t\":\"a\"}",
                "{\"t\":\"b\"}",
                vec![text("a"), Event::End],
            ),
            (
                "{\"t\":\"a\",\"u\":\"a\"}",
                "{\"t\":\"b\",\"u\":\"b\"}",
                vec![text("a")],
            ),
            (
                "{\"t\":\"\\u0061\",\"u\":\"a\"}",
                "{\"t\":\"\\u0061\",\"u\":\"b\"}",
                vec![text("a")],
            ),
            (
                "{\"t\":\"a\"}",
                "{\"t\":\"b\"}",
                vec![Event::Refusal("a".into())],
            ),
        ] {
            let mut repeated = Repeated::default();
            for data in [first, second, first, second] {
                let said: Vec<Event> = events
                    .iter()
                    .map(|event| match event {
                        Event::Text(_) if data == second && !first.contains("u0061") => text("b"),
                        event => event.clone(),
                    })
                    .collect();
                read(&mut repeated, data, &said);
            }
            assert!(repeated.says(&frame(second)).is_none(), "{first}");
        }
    }
}
