//! Takes out of a stream the usage that flyball asked for and the client did not: the extra chunk,
//! and the `"usage": null` that all other chunks then carry. Every other byte goes on as it came.
//!
//! Usage on a chunk that also says something stays: its provider may well send it unasked.

use crate::dialect::StreamFilter;
use crate::dialect::lenient::Text;
use crate::dialect::sse;
use crate::json::{Edit, Object};
use bytes::Bytes;
use memchr::memmem;
use std::borrow::Cow;
use std::ops::Range;

/// As much of one event as is held back; a longer one goes on unchanged.
const HELD_BYTES_MAX: usize = sse::EVENT_BYTES_MAX;

/// The filter of one stream.
#[derive(Default)]
pub(super) struct HideUsage {
    /// The start of an event whose end has not come.
    held: Vec<u8>,
    ends: Ends,
    /// The event is too long to be held: its rest goes on unchanged.
    too_long: bool,
    late_lf: LateLf,
}

/// What becomes of a LF that comes first: it is the rest of a CRLF whose event was already decided on.
#[derive(Default)]
enum LateLf {
    #[default]
    BelongsToNext,
    Stays,
    Goes,
}

/// Finds where events end: at the end of an empty line.
#[derive(Default)]
struct Ends {
    in_line: bool,
    after_cr: bool,
}

impl Ends {
    /// The place after the next event's end.
    fn next(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if std::mem::take(&mut self.after_cr) && bytes[at] == b'\n' {
                at += 1;
                continue;
            }
            let Some(end) = sse::line_end(&bytes[at..]) else {
                self.in_line = true;
                return None;
            };
            let empty = end == 0 && !self.in_line;
            self.in_line = false;
            at += end + 1;
            self.after_cr = bytes[at - 1] == b'\r';
            if empty {
                if self.after_cr && bytes.get(at) == Some(&b'\n') {
                    self.after_cr = false;
                    at += 1;
                }
                return Some(at);
            }
        }
        None
    }
}

/// What becomes of an event.
enum EventFate {
    Keep,
    Drop,
    Change(Vec<u8>),
}

impl StreamFilter for HideUsage {
    fn feed(&mut self, bytes: Bytes) -> Bytes {
        let mut out = PassedOn::new(bytes);
        let mut start = 0;
        if let Some(&first) = out.bytes.first() {
            let late_lf = std::mem::take(&mut self.late_lf);
            if first == b'\n' && !matches!(late_lf, LateLf::BelongsToNext) {
                self.ends.after_cr = false;
                start = 1;
                if matches!(late_lf, LateLf::Goes) {
                    out.replace(0..1, &[]);
                }
            }
        }
        while let Some(length) = self.ends.next(&out.bytes[start..]) {
            let event = start..start + length;
            start = event.end;
            self.end_event(event, &mut out);
        }
        let rest = start..out.bytes.len();
        if self.too_long || self.held.len() + rest.len() > HELD_BYTES_MAX {
            self.too_long = true;
            let held = std::mem::take(&mut self.held);
            out.insert(rest.start, &held);
            out.keep_to(rest.end);
        } else {
            self.held.extend_from_slice(&out.bytes[rest]);
            out.cut(start);
        }
        out.finish()
    }

    fn finish(&mut self) -> Bytes {
        let held = std::mem::take(&mut self.held);
        match fate(&held) {
            EventFate::Keep => Bytes::from(held),
            EventFate::Drop => Bytes::new(),
            EventFate::Change(changed) => Bytes::from(changed),
        }
    }
}

impl HideUsage {
    fn end_event(&mut self, event: Range<usize>, out: &mut PassedOn) {
        let fate = self.fate(event, out);
        if self.ends.after_cr {
            self.late_lf = match fate {
                EventFate::Drop => LateLf::Goes,
                EventFate::Keep | EventFate::Change(_) => LateLf::Stays,
            };
        }
    }

    /// Decides on an event and writes it.
    fn fate(&mut self, event: Range<usize>, out: &mut PassedOn) -> EventFate {
        if std::mem::take(&mut self.too_long) {
            return EventFate::Keep;
        }
        let held = std::mem::take(&mut self.held);
        let whole = match held.is_empty() {
            true => Cow::Borrowed(&out.bytes[event.clone()]),
            false => Cow::Owned([&held, &out.bytes[event.clone()]].concat()),
        };
        let fate = fate(&whole);
        match &fate {
            EventFate::Keep => {
                if let Cow::Owned(whole) = whole {
                    out.replace(event, &whole);
                }
            }
            EventFate::Change(changed) => out.replace(event, changed),
            EventFate::Drop => out.replace(event, &[]),
        }
        fate
    }
}

/// The bytes that go on: untouched ones are not copied until something before them changes.
struct PassedOn {
    bytes: Bytes,
    copied: Option<Vec<u8>>,
    /// Up to here `bytes` are dealt with, in `copied`.
    done: usize,
}

impl PassedOn {
    fn new(bytes: Bytes) -> PassedOn {
        PassedOn {
            bytes,
            copied: None,
            done: 0,
        }
    }

    /// Copies what is not dealt with, up to `end`.
    fn keep_to(&mut self, end: usize) {
        if let Some(copied) = &mut self.copied {
            copied.extend_from_slice(&self.bytes[self.done..end]);
            self.done = end;
        }
    }

    fn insert(&mut self, at: usize, with: &[u8]) {
        if !with.is_empty() {
            self.replace(at..at, with);
        }
    }

    fn replace(&mut self, range: Range<usize>, with: &[u8]) {
        self.copied.get_or_insert_default();
        self.keep_to(range.start);
        self.copied.get_or_insert_default().extend_from_slice(with);
        self.done = range.end;
    }

    /// Leaves out everything from `at` on.
    fn cut(&mut self, at: usize) {
        self.keep_to(at);
        self.bytes.truncate(at);
    }

    fn finish(mut self) -> Bytes {
        self.keep_to(self.bytes.len());
        self.copied.map_or(self.bytes, Bytes::from)
    }
}

fn fate(event: &[u8]) -> EventFate {
    if memmem::find(event, b"\"usage\"").is_none() {
        return EventFate::Keep;
    }
    let Ok(text) = std::str::from_utf8(event) else {
        return EventFate::Keep;
    };
    let places = data_places(event);
    let data: Cow<'_, str> = match places.as_slice() {
        [one] => Cow::Borrowed(&text[one.clone()]),
        several => Cow::Owned(
            several
                .iter()
                .map(|place| &text[place.clone()])
                .collect::<Vec<_>>()
                .join("\n"),
        ),
    };
    let Ok(chunk) = Object::read(data.as_bytes()) else {
        return EventFate::Keep;
    };
    match (chunk.get("usage"), places.as_slice()) {
        (Some("null"), [place]) => {
            let Some(edited) = chunk.edited(&[Edit::remove(&["usage"])]) else {
                return EventFate::Keep;
            };
            let changed = [&text[..place.start], &edited, &text[place.end..]].concat();
            EventFate::Change(changed.into_bytes())
        }
        (Some(usage), _) if usage != "null" && says_nothing_else(&chunk) => EventFate::Drop,
        _ => EventFate::Keep,
    }
}

fn says_nothing_else(chunk: &Object<'_>) -> bool {
    let no_choices = chunk
        .get("choices")
        .and_then(|raw| serde_json::from_str::<Text<'_>>(raw).ok())
        .is_some_and(|choices| choices.kind() == "an array" && choices.list().is_empty());
    no_choices && chunk.some("prompt_filter_results").is_none() && chunk.some("error").is_none()
}

/// Where the event's data stand.
fn data_places(event: &[u8]) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    let mut start = 0;
    while start < event.len() {
        let end = sse::line_end(&event[start..]).map_or(event.len(), |end| start + end);
        let line = &event[start..end];
        let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        if let Some(data) = sse::data_of(line) {
            places.push(end - data.len()..end);
        }
        start = end + 1;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(pieces: &[&[u8]]) -> String {
        let mut filter = HideUsage::default();
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&filter.feed(Bytes::copy_from_slice(piece)));
        }
        out.extend_from_slice(&filter.finish());
        String::from_utf8(out).expect("text stays text")
    }

    const BEFORE: &str = ": hello\n\n\
        data: {\"id\":1, \"choices\":[{\"delta\":{\"content\":\"ü \\\"usage\\\"\"}}],\"usage\": null,\"obfuscation\":\"x\"}\n\n\
        data:{\"usage\":null,\"choices\":[]}\n\n\
        data: {\"choices\":[],\"prompt_filter_results\":[{}],\"usage\":{\"a\":1}}\n\n\
        data: {\"choices\":[{\"finish_reason\":\"stop\"}],\"usage\":{\"a\":1}}\n\n\
        event: x\ndata: {\"choices\":[ ],\ndata: \"usage\":{\"a\":1}}\n\n\
        data: {\"choices\":[],\"usage\":{\"a\":1}}\n\n\
        data: {\"choices\":[],\"usage\"\n\n\
        data: [DONE]\n\n\ndata: {\"choices\":[],\"usage\":{}}";

    const AFTER: &str = ": hello\n\n\
        data: {\"id\":1, \"choices\":[{\"delta\":{\"content\":\"ü \\\"usage\\\"\"}}],\"obfuscation\":\"x\"}\n\n\
        data:{\"choices\":[]}\n\n\
        data: {\"choices\":[],\"prompt_filter_results\":[{}],\"usage\":{\"a\":1}}\n\n\
        data: {\"choices\":[{\"finish_reason\":\"stop\"}],\"usage\":{\"a\":1}}\n\n\
        data: {\"choices\":[],\"usage\"\n\n\
        data: [DONE]\n\n\n";

    #[test]
    fn only_the_usage_that_was_asked_for_is_taken_out_however_the_stream_is_cut() {
        for line_end in ["\n", "\r\n", "\r"] {
            let (before, after) = (
                BEFORE.replace('\n', line_end),
                AFTER.replace('\n', line_end),
            );
            let bytes = before.as_bytes();
            assert_eq!(filter(&[bytes]), after);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(filter(&single), after);
            for cut in 0..=bytes.len() {
                let got = filter(&[&bytes[..cut], &bytes[cut..]]);
                assert_eq!(got, after, "{line_end:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_stream_without_such_usage_is_handed_on_without_a_copy() {
        let bytes = Bytes::from_static(b"data: {\"choices\":[]}\n\ndata: [DONE]\n\n");
        let got = HideUsage::default().feed(bytes.clone());
        assert_eq!(got, bytes);
        assert_eq!(got.as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn an_event_is_not_held_past_its_end_and_a_long_one_not_past_the_limit() {
        let mut filter = HideUsage::default();
        let piece = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert_eq!(filter.feed(piece("data: a\r")), piece(""));
        assert_eq!(filter.feed(piece("\n\r")), piece("data: a\r\n\r"));
        assert_eq!(filter.feed(piece("\ndata: b")), piece("\n"));
        let long = Bytes::from(vec![b'x'; HELD_BYTES_MAX]);
        assert_eq!(
            filter.feed(long.clone()).len(),
            long.len() + "data: b".len()
        );
        assert!(filter.held.is_empty());
        assert_eq!(
            filter.feed(piece("\"usage\"")),
            piece("\"usage\""),
            "the rest is not held"
        );
        assert_eq!(filter.feed(piece("\n\ndata: c")), piece("\n\n"));
        assert_eq!(filter.finish(), piece("data: c"));
    }
}
