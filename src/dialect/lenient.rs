//! JSON values that may come in several shapes, read in one pass without failing on the wrong one.
//!
//! A vendor's surprise in one field never costs the rest of an event. Refusing is left to the caller.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Counts above this cannot be told apart in a reader that uses doubles; nothing real comes near.
const COUNT_MAX: u64 = 1 << 53;

/// A string, an array, nothing, or something else.
#[derive(Clone, Debug, Default)]
pub(super) enum Content<'a, T> {
    /// Missing or `null`.
    #[default]
    Nothing,
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    List(Vec<T>),
    /// Neither, in words: "a number".
    Other(&'static str),
}

/// A string where one is there; an array or another type is passed over.
pub(super) type Text<'a> = Content<'a, IgnoredAny>;

impl<'a, T> Content<'a, T> {
    /// The string.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The string, unless it is empty.
    pub(super) fn words(&self) -> Option<&str> {
        self.text().filter(|text| !text.is_empty())
    }

    /// The string by value.
    pub(super) fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The elements; empty where it is no array.
    pub(super) fn list(&self) -> &[T] {
        match self {
            Content::List(list) => list,
            _ => &[],
        }
    }

    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Content::Nothing => "nothing",
            Content::Text(_) => "a string",
            Content::List(_) => "an array",
            Content::Other(kind) => kind,
        }
    }
}

/// An object; every other type is passed over.
#[derive(Clone, Debug)]
pub(super) struct Maybe<T>(pub(super) Option<T>);

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Maybe(None)
    }
}

/// An array; an object stands for an array of one, as Google's servers read it.
#[derive(Clone, Debug)]
pub(super) struct Many<'a, T>(pub(super) Content<'a, T>);

impl<T> Default for Many<'_, T> {
    fn default() -> Self {
        Many(Content::Nothing)
    }
}

/// A count of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Count {
    /// Missing or `null`.
    #[default]
    Missing,
    /// A whole number from 0 to 2^53.
    Valid(u64),
    /// Negative, a fraction, a string, too large.
    Wrong,
}

impl Count {
    /// The number where there is one.
    pub(super) fn get(self) -> Option<u64> {
        match self {
            Count::Valid(n) => Some(n),
            Count::Missing | Count::Wrong => None,
        }
    }
}

/// What a visitor makes of each JSON type; the default is "something else".
trait Reads<'de>: Sized {
    fn nothing() -> Self;
    fn other(kind: &'static str) -> Self;
    fn number(_: u64) -> Self {
        Self::other("a number")
    }
    fn text(_: Cow<'de, str>) -> Self {
        Self::other("a string")
    }
    fn list<A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::other("an array"))
    }
    fn object<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::other("an object"))
    }
}

struct Any<S>(PhantomData<S>);

impl<'de, S: Reads<'de>> Visitor<'de> for Any<S> {
    type Value = S;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_unit<E: Error>(self) -> Result<S, E> {
        Ok(S::nothing())
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<S, E> {
        Ok(S::other("a boolean"))
    }
    fn visit_u64<E: Error>(self, n: u64) -> Result<S, E> {
        Ok(S::number(n))
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<S, E> {
        Ok(S::other("a number"))
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<S, E> {
        Ok(S::other("a number"))
    }
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<S, E> {
        Ok(S::text(Cow::Borrowed(text)))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<S, E> {
        Ok(S::text(Cow::Owned(text.to_owned())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<S, A::Error> {
        S::list(seq)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<S, A::Error> {
        S::object(map)
    }
}

impl<'de, T: Deserialize<'de>> Reads<'de> for Content<'de, T> {
    fn nothing() -> Self {
        Content::Nothing
    }
    fn other(kind: &'static str) -> Self {
        Content::Other(kind)
    }
    fn text(text: Cow<'de, str>) -> Self {
        Content::Text(text)
    }
    fn list<A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = seq.next_element()? {
            list.push(element);
        }
        Ok(Content::List(list))
    }
}

impl<'de, T: Deserialize<'de>> Reads<'de> for Maybe<T> {
    fn nothing() -> Self {
        Maybe(None)
    }
    fn other(_: &'static str) -> Self {
        Maybe(None)
    }
    fn object<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|value| Maybe(Some(value)))
    }
}

impl Reads<'_> for Count {
    fn nothing() -> Self {
        Count::Missing
    }
    fn other(_: &'static str) -> Self {
        Count::Wrong
    }
    fn number(n: u64) -> Self {
        if n <= COUNT_MAX {
            Count::Valid(n)
        } else {
            Count::Wrong
        }
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Content<'a, T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Any::<Content<'de, T>>(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Reads<'de> for Many<'de, T> {
    fn nothing() -> Self {
        Many(Content::Nothing)
    }
    fn other(kind: &'static str) -> Self {
        Many(Content::Other(kind))
    }
    fn text(text: Cow<'de, str>) -> Self {
        Many(Content::Text(text))
    }
    fn list<A: SeqAccess<'de>>(seq: A) -> Result<Self, A::Error> {
        <Content<'de, T> as Reads<'de>>::list(seq).map(Many)
    }
    fn object<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let one = T::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Many(Content::List(vec![one])))
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Many<'a, T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Any::<Many<'de, T>>(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Any::<Maybe<T>>(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Any::<Count>(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_whole_number_or_it_is_wrong() {
        for (json, expected) in [
            ("7", Count::Valid(7)),
            ("0", Count::Valid(0)),
            ("9007199254740992", Count::Valid(1 << 53)),
            ("null", Count::Missing),
            ("9007199254740993", Count::Wrong),
            ("-1", Count::Wrong),
            ("7.0", Count::Wrong),
            ("1e3", Count::Wrong),
            ("99999999999999999999999", Count::Wrong),
            ("\"7\"", Count::Wrong),
            ("true", Count::Wrong),
            ("[7]", Count::Wrong),
            ("{\"n\":{}}", Count::Wrong),
        ] {
            let got: Count = serde_json::from_str(json).expect("any value is read");
            assert_eq!(got, expected, "{json}");
        }
    }

    #[test]
    fn content_borrows_plain_text_and_passes_over_what_it_does_not_know() {
        let text: Text<'_> = serde_json::from_str("\"plain\"").expect("read");
        assert!(matches!(text, Content::Text(Cow::Borrowed("plain"))));
        let text: Text<'_> = serde_json::from_str("\"a\\nb\"").expect("read");
        assert_eq!(text.text(), Some("a\nb"));
        for (json, kind) in [
            ("null", "nothing"),
            ("{\"a\":[1]}", "an object"),
            ("1.5", "a number"),
            ("-1", "a number"),
            ("false", "a boolean"),
            ("[1,2]", "an array"),
        ] {
            let content: Text<'_> = serde_json::from_str(json).expect("any value is read");
            assert_eq!(content.kind(), kind, "{json}");
        }
    }
}
