//! A stream of events as one JSON array, for clients that did not ask for `alt=sse`.

use crate::dialect::StreamFilter;
use crate::dialect::sse::SseReader;
use bytes::Bytes;

/// Turns SSE into the elements of an array; an element's bytes stay as they came.
#[derive(Default)]
pub(super) struct ToArray {
    reader: SseReader,
    begun: bool,
    closed: bool,
}

impl ToArray {
    fn element(begun: &mut bool, data: &[u8], out: &mut Vec<u8>) {
        if data.trim_ascii().is_empty() || data.trim_ascii() == b"[DONE]" {
            return;
        }
        let before: &[u8] = if std::mem::replace(begun, true) {
            b"\r\n,\r\n"
        } else {
            b"["
        };
        out.extend_from_slice(before);
        out.extend_from_slice(data);
    }
}

impl StreamFilter for ToArray {
    fn feed(&mut self, bytes: Bytes) -> Bytes {
        let mut out = Vec::new();
        let begun = &mut self.begun;
        self.reader.feed(&bytes, &mut |frame| {
            ToArray::element(begun, frame.data, &mut out)
        });
        Bytes::from(out)
    }

    fn finish(&mut self) -> Bytes {
        if std::mem::replace(&mut self.closed, true) {
            return Bytes::new();
        }
        let mut out = Vec::new();
        let begun = &mut self.begun;
        self.reader
            .finish(&mut |frame| ToArray::element(begun, frame.data, &mut out));
        let end: &[u8] = if self.begun { b"\r\n]\r\n" } else { b"[]" };
        out.extend_from_slice(end);
        Bytes::from(out)
    }

    /// An error is the last element, and the array ends, so that a client can read it.
    fn fail(&mut self, event: Bytes) -> Bytes {
        let mut out = self.feed(event).to_vec();
        out.extend_from_slice(&self.finish());
        Bytes::from(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_one_array_however_they_are_cut() {
        let stream = b"data: {\"a\": 1}\r\n\r\n: x\r\n\r\ndata: {\"b\":\"\xc3\xbc\"}\r\n\r\n";
        let expected = "[{\"a\": 1}\r\n,\r\n{\"b\":\"ü\"}\r\n]\r\n";
        for size in [1, 3, stream.len()] {
            let mut filter = ToArray::default();
            let mut out = Vec::new();
            for piece in stream.chunks(size) {
                out.extend_from_slice(&filter.feed(Bytes::copy_from_slice(piece)));
            }
            out.extend_from_slice(&filter.finish());
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
        let mut filter = ToArray::default();
        let said = filter.fail(Bytes::from_static(b"data: {\"error\":{}}\r\n\r\n"));
        assert_eq!(said, "[{\"error\":{}}\r\n]\r\n");
        assert_eq!(ToArray::default().finish(), "[]");
    }
}
