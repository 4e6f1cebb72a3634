//! Reads JSON as serde_json does, several times as fast where most of a text is strings, which is what prompts and answers are.
//!
//! Strings are searched by vector instructions and borrowed. It reads nothing that serde_json would not read in the same way: whatever it
//! is not sure of, every error, and what is rare, is left to serde_json.

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
    value::BorrowedStrDeserializer,
};
use serde::{Deserialize, forward_to_deserialize_any};
use std::borrow::Cow;
use std::ops::Range;

/// Deeper nesting is left to serde_json, which refuses it at 128.
const DEPTH_MAX: usize = 120;
/// The name by which serde_json asks for a value as it is written.
const RAW: &str = "$serde_json::private::RawValue";
/// So much of a string is looked at eight bytes at a time: most names are shorter, and a search by vectors has to be set up.
const SHORT: usize = 16;

/// Reads a whole text.
///
/// # Errors
/// Those of serde_json.
pub fn from_str<'a, T: Deserialize<'a>>(text: &'a str) -> serde_json::Result<T> {
    match try_from_str(text) {
        Some(value) => Ok(value),
        None => serde_json::from_str(text),
    }
}

/// Reads a whole text.
///
/// # Errors
/// Those of serde_json.
pub fn from_slice<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> serde_json::Result<T> {
    let text = std::str::from_utf8(bytes).ok();
    match text.and_then(try_from_str) {
        Some(value) => Ok(value),
        None => serde_json::from_slice(bytes),
    }
}

/// A whole text, if it can be read here.
#[must_use]
pub fn try_from_str<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
    };
    let value = T::deserialize(&mut reader).ok()?;
    reader.white();
    (reader.at == text.len()).then_some(value)
}

/// The fields of an object, each key with its value's place in the text, if all of it can be read here and no deeper than so many levels.
pub(super) fn fields(text: &str, depth: usize) -> Option<Vec<(Key<'_>, Range<usize>)>> {
    let mut reader = Reader {
        text,
        at: 0,
        depth: DEPTH_MAX.saturating_sub(depth),
    };
    let mut fields = Vec::with_capacity(12);
    reader.white();
    reader.take(b'{')?;
    reader.enter()?;
    let mut first = true;
    while let Some(key) = reader.key(first)? {
        first = false;
        reader.white();
        let start = reader.at;
        reader.skip()?;
        fields.push((key, start..reader.at));
    }
    reader.white();
    (reader.at == text.len()).then_some(fields)
}

/// A string as it stands between its quotes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key<'a> {
    /// It says what it is.
    Plain(&'a str),
    /// It has escapes; with its quotes.
    Escaped(&'a str),
}

impl<'a> Key<'a> {
    /// What it says; `None` where an escape is no character.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Key::Plain(text) => Some(Cow::Borrowed(text)),
            Key::Escaped(raw) => serde_json::from_str(raw).ok().map(Cow::Owned),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// That it is not read here; why does not matter, since serde_json reads it once more.
type Unread = serde::de::value::Error;

fn unread() -> Unread {
    Unread::custom("")
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn white(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let there = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        there.then(|| self.at += word.len())
    }

    /// Goes behind a string whose opening quote is next.
    fn string(&mut self) -> Option<Key<'a>> {
        self.take(b'"')?;
        let (text, start) = (self.text, self.at);
        let bytes = text.as_bytes();
        let mut escaped = false;
        loop {
            let from = self.at;
            let mut at = from;
            let short = bytes.len().min(from + SHORT);
            at += before_end(&bytes[from..short]);
            if at == short {
                at += memchr::memchr2(b'"', b'\\', &bytes[at..])?;
                if has_control(&bytes[short..at]) {
                    return None;
                }
            }
            self.at = at + 1;
            match bytes[at] {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return None,
            }
        }
        Some(match escaped {
            false => Key::Plain(&text[start..self.at - 1]),
            true => Key::Escaped(&text[start - 1..self.at]),
        })
    }

    /// Goes behind what follows a backslash.
    fn escape(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        match bytes.get(self.at)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                let digits = bytes.get(self.at + 1..self.at + 5)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                self.at += 5;
            }
            _ => return None,
        }
        Some(())
    }

    /// Goes behind a number; true where it is digits alone.
    fn number(&mut self) -> Option<bool> {
        let negative = self.take(b'-').is_some();
        match self.peek()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        let mut whole = !negative;
        if self.take(b'.').is_some() {
            whole = false;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            whole = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Some(whole)
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Option<()> {
        let from = self.at;
        self.digits();
        (self.at > from).then_some(())
    }

    /// Goes behind the next key and its colon; `None` inside where the object ends.
    fn key(&mut self, first: bool) -> Option<Option<Key<'a>>> {
        self.white();
        if self.take(b'}').is_some() {
            return Some(None);
        }
        if !first {
            self.take(b',')?;
            self.white();
        }
        let key = self.string()?;
        self.white();
        self.take(b':')?;
        Some(Some(key))
    }

    /// Goes to the next element; false where the array ends.
    fn element(&mut self, first: bool) -> Option<bool> {
        self.white();
        if self.take(b']').is_some() {
            return Some(false);
        }
        if !first {
            self.take(b',')?;
            self.white();
        }
        Some(true)
    }

    /// Goes one level down.
    fn enter(&mut self) -> Option<()> {
        self.depth += 1;
        (self.depth <= DEPTH_MAX).then_some(())
    }

    /// Goes behind a value of any kind.
    fn skip(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' => {
                self.at += 1;
                self.enter()?;
                let mut first = true;
                while self.key(first)?.is_some() {
                    first = false;
                    self.white();
                    self.skip()?;
                }
                self.depth -= 1;
                Some(())
            }
            b'[' => {
                self.at += 1;
                self.enter()?;
                let mut first = true;
                while self.element(first)? {
                    first = false;
                    self.skip()?;
                }
                self.depth -= 1;
                Some(())
            }
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number().map(drop),
        }
    }

    /// The text of the next value.
    fn raw(&mut self) -> Option<&'a str> {
        self.white();
        let start = self.at;
        self.skip()?;
        Some(&self.text[start..self.at])
    }

    fn read_string<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Unread> {
        match self.string().ok_or_else(unread)? {
            Key::Plain(text) => visitor.visit_borrowed_str(text),
            Key::Escaped(raw) => read_escaped(raw, visitor),
        }
    }

    fn read_number<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Unread> {
        let start = self.at;
        let whole = self.number().ok_or_else(unread)?;
        let text = &self.text[start..self.at];
        match text.parse::<u64>() {
            Ok(number) if whole => visitor.visit_u64(number),
            // Fractions, and what is negative or very long, are rare.
            _ => serde_json::Deserializer::from_str(text)
                .deserialize_any(visitor)
                .map_err(|_| unread()),
        }
    }
}

/// What a string with escapes says.
fn read_escaped<'a, V: Visitor<'a>>(raw: &'a str, visitor: V) -> Result<V::Value, Unread> {
    serde_json::Deserializer::from_str(raw)
        .deserialize_str(visitor)
        .map_err(|_| unread())
}

/// The bytes at which a string is over, may be over, or is none.
const ENDS: [bool; 256] = {
    let mut ends = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        ends[byte] = true;
        byte += 1;
    }
    ends[b'"' as usize] = true;
    ends[b'\\' as usize] = true;
    ends
};

/// How many bytes come before the first one of [`ENDS`].
fn before_end(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (word, from) in words.iter().zip((0..).step_by(8)) {
        let ends = ends_in(u64::from_le_bytes(*word));
        if ends != 0 {
            return from + ends.trailing_zeros() as usize / 8;
        }
    }
    let in_rest = rest.iter().position(|byte| ENDS[usize::from(*byte)]);
    bytes.len() - rest.len() + in_rest.unwrap_or(rest.len())
}

/// Sets the high bit of the lowest byte that is one of [`ENDS`]; of bytes above it nothing is sure.
fn ends_in(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // A subtraction borrows from the bytes above only where a byte is below what is taken from it, which is where it ends already.
    let below = |word: u64, than: u64| word.wrapping_sub(EACH * than) & !word;
    let is = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\')) & (EACH << 7)
}

/// Whether a control character is in it, which no string of JSON may hold. Without an early end in the inner loop it is done by vector
/// instructions.
fn has_control(bytes: &[u8]) -> bool {
    let any = |piece: &[u8]| piece.iter().fold(false, |any, byte| any | (*byte < 0x20));
    bytes.chunks(256).any(any)
}

impl<'a> Deserializer<'a> for &mut Reader<'a> {
    type Error = Unread;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Unread> {
        self.white();
        match self.peek().ok_or_else(unread)? {
            b'"' => self.read_string(visitor),
            b'{' => {
                self.at += 1;
                self.enter().ok_or_else(unread)?;
                let value = visitor.visit_map(Members {
                    reader: self,
                    first: true,
                })?;
                // A visitor that has read all of them has taken the end; any other one leaves the rest to serde_json.
                self.depth -= 1;
                self.closed(b'}').then_some(value).ok_or_else(unread)
            }
            b'[' => {
                self.at += 1;
                self.enter().ok_or_else(unread)?;
                let value = visitor.visit_seq(Elements {
                    reader: self,
                    first: true,
                })?;
                self.depth -= 1;
                self.closed(b']').then_some(value).ok_or_else(unread)
            }
            b't' => {
                self.word("true").ok_or_else(unread)?;
                visitor.visit_bool(true)
            }
            b'f' => {
                self.word("false").ok_or_else(unread)?;
                visitor.visit_bool(false)
            }
            b'n' => {
                self.word("null").ok_or_else(unread)?;
                visitor.visit_unit()
            }
            _ => self.read_number(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Unread> {
        self.white();
        match self.peek() {
            Some(b'n') => {
                self.word("null").ok_or_else(unread)?;
                visitor.visit_none()
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unread> {
        match name {
            RAW => visitor.visit_map(Raw(Some(self.raw().ok_or_else(unread)?))),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Unread> {
        self.raw().ok_or_else(unread)?;
        visitor.visit_unit()
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unread> {
        let raw = self.raw().ok_or_else(unread)?;
        serde_json::Deserializer::from_str(raw)
            .deserialize_enum(name, variants, visitor)
            .map_err(|_| unread())
    }

    forward_to_deserialize_any! {
        <W: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

impl Reader<'_> {
    /// The bracket that closed a list was the last thing that was taken.
    fn closed(&self, bracket: u8) -> bool {
        self.at.checked_sub(1).map(|at| self.text.as_bytes()[at]) == Some(bracket)
    }
}

struct Members<'r, 'a> {
    reader: &'r mut Reader<'a>,
    first: bool,
}

impl<'a> MapAccess<'a> for Members<'_, 'a> {
    type Error = Unread;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Unread> {
        let first = std::mem::replace(&mut self.first, false);
        match self.reader.key(first).ok_or_else(unread)? {
            None => Ok(None),
            Some(Key::Plain(text)) => seed
                .deserialize(BorrowedStrDeserializer::new(text))
                .map(Some),
            Some(Key::Escaped(raw)) => seed.deserialize(Escaped(raw)).map(Some),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Unread> {
        seed.deserialize(&mut *self.reader)
    }
}

struct Elements<'r, 'a> {
    reader: &'r mut Reader<'a>,
    first: bool,
}

impl<'a> SeqAccess<'a> for Elements<'_, 'a> {
    type Error = Unread;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Unread> {
        let first = std::mem::replace(&mut self.first, false);
        match self.reader.element(first).ok_or_else(unread)? {
            true => seed.deserialize(&mut *self.reader).map(Some),
            false => Ok(None),
        }
    }
}

/// A value as it is written, in the form in which serde_json hands it on: an object of one member with a name of its own.
struct Raw<'a>(Option<&'a str>);

impl<'a> MapAccess<'a> for Raw<'a> {
    type Error = Unread;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Unread> {
        match self.0 {
            None => Ok(None),
            Some(_) => seed
                .deserialize(BorrowedStrDeserializer::new(RAW))
                .map(Some),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Unread> {
        let raw = self.0.take().ok_or_else(unread)?;
        seed.deserialize(BorrowedStrDeserializer::new(raw))
    }
}

/// A key with escapes.
struct Escaped<'a>(&'a str);

impl<'a> Deserializer<'a> for Escaped<'a> {
    type Error = Unread;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Unread> {
        read_escaped(self.0, visitor)
    }

    forward_to_deserialize_any! {
        <W: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests;
