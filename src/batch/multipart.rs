//! Reads a form with a file in it (`multipart/form-data`, RFC 7578) as it comes, without holding the file.

use memchr::memmem;

/// The head of a part, and a field that is no file, may have so many bytes.
const FIELD_BYTES_MAX: usize = 16 * 1024;

/// What a form says, piece by piece.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A field, whole.
    Field(String, String),
    /// The file begins; its name.
    File(String),
    /// Some of the file's bytes.
    Bytes(Vec<u8>),
}

/// The form is none, or a field of it is too long.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken;

#[derive(Debug)]
enum At {
    /// Before the first boundary.
    Before,
    /// After a boundary: the head of a part, or the end.
    Head,
    /// Within a field.
    Field(String),
    /// Within the file.
    File,
    /// After the last boundary.
    End,
}

/// A form that is being read.
#[derive(Debug)]
pub struct Form {
    boundary: Vec<u8>,
    held: Vec<u8>,
    at: At,
}

impl Form {
    /// A form of this content type.
    #[must_use]
    pub fn of(content_type: &str) -> Option<Form> {
        let (kind, parameters) = content_type.split_once(';')?;
        if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let named = parameters.split(';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("boundary")
                .then_some(value)
        });
        let boundary = named?.trim().trim_matches('"');
        (!boundary.is_empty() && boundary.len() <= 200).then(|| Form {
            // The first boundary has no line before it.
            held: b"\r\n".to_vec(),
            boundary: format!("\r\n--{boundary}").into_bytes(),
            at: At::Before,
        })
    }

    /// The form has come to its end.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self.at, At::End)
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// It is no form.
    pub fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(Piece)) -> Result<(), Broken> {
        self.held.extend_from_slice(bytes);
        loop {
            let found = memmem::find(&self.held, &self.boundary);
            match (&self.at, found) {
                (At::End, _) => {
                    self.held.clear();
                    return Ok(());
                }
                (At::Head, _) => {
                    if self.held.starts_with(b"--") {
                        self.at = At::End;
                        continue;
                    }
                    let Some(end) = memmem::find(&self.held, b"\r\n\r\n") else {
                        return self.within_bounds();
                    };
                    let head = String::from_utf8_lossy(&self.held[..end]).into_owned();
                    // The break before the part's first line may be the one before its boundary.
                    self.held.drain(..end + 2);
                    self.begin(&head, on)?;
                }
                (_, Some(end)) => {
                    let inside: Vec<u8> = self.held.drain(..end + self.boundary.len()).collect();
                    self.end(&inside[..end], on);
                }
                (At::File, None) => {
                    let keep = self.boundary.len().min(self.held.len());
                    let ready = self.held.len() - keep;
                    if ready > 0 {
                        on(Piece::Bytes(self.held.drain(..ready).collect()));
                    }
                    return Ok(());
                }
                (At::Before | At::Field(_), None) => return self.within_bounds(),
            }
        }
    }

    fn within_bounds(&self) -> Result<(), Broken> {
        match self.held.len() <= FIELD_BYTES_MAX {
            true => Ok(()),
            false => Err(Broken),
        }
    }

    fn begin(&mut self, head: &str, on: &mut dyn FnMut(Piece)) -> Result<(), Broken> {
        let disposition = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim()
                .eq_ignore_ascii_case("content-disposition")
                .then_some(value)
        });
        let disposition = disposition.ok_or(Broken)?;
        let name = parameter(disposition, "name").ok_or(Broken)?;
        self.at = match parameter(disposition, "filename") {
            Some(file) => {
                on(Piece::File(file));
                // What is held begins with the break that ends the head.
                self.held.drain(..2);
                At::File
            }
            None => At::Field(name),
        };
        Ok(())
    }

    fn end(&mut self, inside: &[u8], on: &mut dyn FnMut(Piece)) {
        let was = std::mem::replace(&mut self.at, At::Head);
        match was {
            At::File if !inside.is_empty() => on(Piece::Bytes(inside.to_vec())),
            At::Field(name) => {
                let text = inside.strip_prefix(b"\r\n").unwrap_or(inside);
                on(Piece::Field(
                    name,
                    String::from_utf8_lossy(text).into_owned(),
                ));
            }
            At::File | At::Before | At::Head | At::End => {}
        }
    }
}

/// A parameter of a header's value.
fn parameter(value: &str, name: &str) -> Option<String> {
    value.split(';').skip(1).find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (key.trim().eq_ignore_ascii_case(name)).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &[u8] = b"--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x.jsonl\"\r\nContent-Type: text/plain\r\n\r\none\r\n--c\r\ntwo\r\n\r\n--b--\r\n";

    fn read(cuts: &[&[u8]]) -> (Vec<(String, String)>, String, Vec<u8>, bool) {
        let mut form = Form::of("multipart/form-data; boundary=b").expect("a form");
        let (mut fields, mut name, mut bytes) = (Vec::new(), String::new(), Vec::new());
        for cut in cuts {
            form.feed(cut, &mut |piece| match piece {
                Piece::Field(name, text) => fields.push((name, text)),
                Piece::File(file) => name = file,
                Piece::Bytes(more) => bytes.extend(more),
            })
            .expect("it is one");
        }
        (fields, name, bytes, form.is_whole())
    }

    #[test]
    fn a_form_reads_the_same_wherever_it_is_cut() {
        let whole = read(&[FORM]);
        assert_eq!(whole.0, [("purpose".to_owned(), "batch".to_owned())]);
        assert_eq!(whole.1, "x.jsonl");
        assert_eq!(String::from_utf8_lossy(&whole.2), "one\r\n--c\r\ntwo\r\n");
        assert!(whole.3);
        for cut in 0..FORM.len() {
            assert_eq!(read(&[&FORM[..cut], &FORM[cut..]]), whole, "{cut}");
        }
    }
}
