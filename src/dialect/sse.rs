//! Server-sent events, read as they come: bytes in pieces cut anywhere, whole events out.
//!
//! Knows LF, CRLF and CR line ends, a byte order mark, comments, data over several lines and a last
//! event without its empty line. Never holds more than one event, never more than
//! [`EVENT_BYTES_MAX`]: a larger event is read past. Knows nothing of what the data mean.

use super::framed::Frames;

/// The longest line and the most data of one event that is kept, in bytes. The largest recorded event is under 100 KiB.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// A buffer that grew past this is given back after its event.
const KEEP_BYTES: usize = 64 << 10;

/// A comment, which every reader passes over: it shows that the answer is still being made.
pub(super) const COMMENT: &[u8] = b": the model is at work\n\n";

const BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// The `event:` field; empty where there was none.
    pub name: &'a [u8],
    /// The `data:` lines, joined by line feeds.
    pub data: &'a [u8],
}

/// Cuts bytes into events.
#[derive(Debug, Default)]
pub struct SseReader {
    /// The start of a line whose end has not come.
    line: Vec<u8>,
    /// That line is too long and was let go.
    line_too_long: bool,
    data: Vec<u8>,
    has_data: bool,
    name: Vec<u8>,
    /// The event is too large; nothing of it is kept.
    too_large: bool,
    /// The last byte was a CR: a LF that follows belongs to it.
    after_cr: bool,
    /// Bytes of the byte order mark seen so far; past its length once the start is settled.
    bom: usize,
}

impl Frames for SseReader {
    type Frame<'f> = SseEvent<'f>;

    fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(SseEvent<'_>)) {
        SseReader::feed(self, bytes, on);
    }

    fn finish(&mut self, on: &mut dyn FnMut(SseEvent<'_>)) {
        SseReader::finish(self, on);
    }
}

enum SseField<'a> {
    End,
    Data(&'a [u8]),
    Name(&'a [u8]),
    Other,
}

impl SseReader {
    /// Takes the next bytes; calls `on` for each event that they complete. Data that came in one
    /// line inside `bytes` are handed on without a copy.
    pub fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(SseEvent<'_>)) {
        let mut rest = self.after_bom(bytes);
        let mut whole: Option<&[u8]> = None;
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let Some(end) = line_end(rest) else {
                self.carry(rest);
                break;
            };
            self.after_cr = rest[end] == b'\r';
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if !self.line.is_empty() || self.line_too_long || line.len() > EVENT_BYTES_MAX {
                self.carry(line);
                self.end_carried(&mut whole, on);
                continue;
            }
            match field(line) {
                SseField::Data(data) if !self.has_data && !self.too_large => {
                    self.has_data = true;
                    whole = Some(data);
                }
                field => self.take(field, &mut whole, on),
            }
        }
        if let Some(data) = whole {
            self.data.extend_from_slice(data);
        }
    }

    /// The bytes have ended: the last event counts even without its empty line.
    pub fn finish(&mut self, on: &mut dyn FnMut(SseEvent<'_>)) {
        if !self.line.is_empty() || self.line_too_long {
            self.end_carried(&mut None, on);
        }
        self.take(SseField::End, &mut None, on);
    }

    fn after_bom<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let mut rest = bytes;
        while self.bom < BOM.len() {
            match rest.first() {
                None => break,
                Some(&byte) if byte == BOM[self.bom] => {
                    self.bom += 1;
                    rest = &rest[1..];
                }
                Some(_) => {
                    let seen = std::mem::replace(&mut self.bom, BOM.len());
                    self.line.extend_from_slice(&BOM[..seen]);
                }
            }
        }
        rest
    }

    fn carry(&mut self, piece: &[u8]) {
        if self.line_too_long || self.line.len() + piece.len() > EVENT_BYTES_MAX {
            self.line_too_long = true;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(piece);
        }
    }

    fn end_carried(&mut self, whole: &mut Option<&[u8]>, on: &mut dyn FnMut(SseEvent<'_>)) {
        if std::mem::take(&mut self.line_too_long) {
            self.drop_event(whole);
            return;
        }
        let mut line = std::mem::take(&mut self.line);
        self.take(field(&line), whole, on);
        line.clear();
        if line.capacity() <= KEEP_BYTES {
            self.line = line;
        }
    }

    fn take(
        &mut self,
        field: SseField<'_>,
        whole: &mut Option<&[u8]>,
        on: &mut dyn FnMut(SseEvent<'_>),
    ) {
        match field {
            SseField::Data(_) | SseField::Name(_) if self.too_large => {}
            SseField::Data(data) => self.add(data, whole),
            SseField::Name(name) => {
                self.name.clear();
                self.name.extend_from_slice(name);
            }
            SseField::End => self.end_event(whole.take(), on),
            SseField::Other => {}
        }
    }

    fn add(&mut self, data: &[u8], whole: &mut Option<&[u8]>) {
        if let Some(first) = whole.take() {
            self.data.extend_from_slice(first);
        }
        if self.data.len() + 1 + data.len() > EVENT_BYTES_MAX {
            self.drop_event(whole);
            return;
        }
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(data);
    }

    fn drop_event(&mut self, whole: &mut Option<&[u8]>) {
        *whole = None;
        self.too_large = true;
        self.has_data = false;
        self.data = Vec::new();
        self.name.clear();
    }

    fn end_event(&mut self, whole: Option<&[u8]>, on: &mut dyn FnMut(SseEvent<'_>)) {
        if std::mem::take(&mut self.has_data) {
            on(SseEvent {
                name: &self.name,
                data: whole.unwrap_or(&self.data),
            });
        }
        self.too_large = false;
        self.name.clear();
        self.data.clear();
        if self.data.capacity() > KEEP_BYTES {
            self.data = Vec::new();
        }
    }
}

/// Where the first line of `bytes` ends: the place of its CR or LF.
pub(super) fn line_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr2(b'\n', b'\r', bytes)
}

/// The value of a `data:` line.
pub(super) fn data_of(line: &[u8]) -> Option<&[u8]> {
    match field(line) {
        SseField::Data(data) => Some(data),
        _ => None,
    }
}

fn field(line: &[u8]) -> SseField<'_> {
    if line.is_empty() {
        return SseField::End;
    }
    let (name, value) = match line.iter().position(|&b| b == b':') {
        Some(colon) => (&line[..colon], &line[colon + 1..]),
        None => (line, &[][..]),
    };
    let value = value.strip_prefix(b" ").unwrap_or(value);
    match name {
        b"data" => SseField::Data(value),
        b"event" => SseField::Name(value),
        _ => SseField::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut reader = SseReader::default();
        let mut seen = Vec::new();
        let mut on = |f: SseEvent<'_>| {
            seen.push((
                String::from_utf8_lossy(f.name).into_owned(),
                String::from_utf8_lossy(f.data).into_owned(),
            ));
        };
        for piece in pieces {
            reader.feed(piece, &mut on);
        }
        reader.finish(&mut on);
        seen
    }

    #[test]
    fn a_stream_cut_at_any_two_places_gives_the_same_events() {
        let expected = [
            ("", "one"),
            ("two", "a\nb\n"),
            ("", "drei ü"),
            ("", ""),
            ("", "end"),
        ]
        .map(|(n, d)| (n.to_owned(), d.to_owned()));
        let text = "\u{feff}: hello\nid: 1\ndata: one\n\nevent:two\ndata:a\ndata: b\ndata\n\n\
            event: none\n\n:x\n\ndata:drei ü\n\ndata\n\ndata: end";
        for line_end in ["\n", "\r\n", "\r"] {
            let bytes = text.replace('\n', line_end).into_bytes();
            for a in 0..=bytes.len() {
                for b in a..=bytes.len() {
                    let got = read(&[&bytes[..a], &bytes[a..b], &bytes[b..]]);
                    assert_eq!(got, expected, "{line_end:?} cut at {a} and {b}");
                }
            }
        }
    }

    #[test]
    fn an_event_over_the_limit_is_read_past_however_it_is_cut() {
        let long = "x".repeat(EVENT_BYTES_MAX);
        let half = "y".repeat(EVENT_BYTES_MAX / 2);
        let text = format!(
            "data: a\n\ndata: {long}\ndata: lost\n\ndata: {half}\ndata: {half}\nevent: e\n\ndata: b\n\n"
        );
        let expected = ["a", "b"].map(|d| (String::new(), d.to_owned()));
        let bytes = text.as_bytes();
        assert_eq!(read(&[bytes]), expected);
        for size in [1, 7, 4096, 1 << 19] {
            assert_eq!(
                read(&bytes.chunks(size).collect::<Vec<_>>()),
                expected,
                "{size}"
            );
        }
    }

    #[test]
    fn a_million_empty_data_lines_stay_in_bounds() {
        let mut reader = SseReader::default();
        let mut events = 0;
        for _ in 0..3_000_000 {
            reader.feed(b"data:\n", &mut |_| events += 1);
            assert!(reader.data.capacity() <= 2 * EVENT_BYTES_MAX);
        }
        reader.feed(b"\ndata: x\n\n", &mut |_| events += 1);
        assert_eq!(events, 1);
    }
}
