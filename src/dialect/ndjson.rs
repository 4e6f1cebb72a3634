//! JSON objects, one a line, read as they come. Never holds more than one line, never more than
//! [`super::sse::EVENT_BYTES_MAX`]: a longer line is read past.

use super::framed::Frames;
use super::sse::EVENT_BYTES_MAX;

/// Cuts bytes into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    held: Vec<u8>,
    too_long: bool,
}

/// A frame is a line without its end; blank ones are none.
impl Frames for Lines {
    type Frame<'f> = &'f [u8];

    fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if self.held.is_empty() && !self.too_long {
                tell(line, on);
                continue;
            }
            self.hold(line);
            self.end(on);
        }
        self.hold(rest);
    }

    fn finish(&mut self, on: &mut dyn FnMut(&[u8])) {
        self.end(on);
    }
}

impl Lines {
    fn hold(&mut self, piece: &[u8]) {
        if self.too_long || self.held.len() + piece.len() > EVENT_BYTES_MAX {
            self.too_long = true;
            self.held = Vec::new();
        } else {
            self.held.extend_from_slice(piece);
        }
    }

    fn end(&mut self, on: &mut dyn FnMut(&[u8])) {
        let held = std::mem::take(&mut self.held);
        if !std::mem::take(&mut self.too_long) {
            tell(&held, on);
        }
    }
}

fn tell(line: &[u8], on: &mut dyn FnMut(&[u8])) {
    let line = line.trim_ascii();
    if !line.is_empty() && line.len() <= EVENT_BYTES_MAX {
        on(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        let mut on = |line: &[u8]| seen.push(String::from_utf8_lossy(line).into_owned());
        for piece in pieces {
            lines.feed(piece, &mut on);
        }
        lines.finish(&mut on);
        seen
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut_and_a_long_one_is_read_past() {
        let text = "{\"a\":1}\r\n\n {\"b\":\"ü\"}\n{\"c\":3}".as_bytes();
        let expected = ["{\"a\":1}", "{\"b\":\"ü\"}", "{\"c\":3}"];
        for cut in 0..=text.len() {
            assert_eq!(read(&[&text[..cut], &text[cut..]]), expected);
        }
        let long = [&vec![b'x'; EVENT_BYTES_MAX + 1][..], b"\n{}\n"].concat();
        for size in [1 << 10, 1 << 19, long.len()] {
            assert_eq!(read(&long.chunks(size).collect::<Vec<_>>()), ["{}"]);
        }
    }
}
