use super::*;
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Everything in it that the dialects use of serde.
#[derive(Debug, Deserialize, PartialEq)]
struct Mixed<'a> {
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default)]
    count: Option<u64>,
    #[serde(default)]
    share: Option<f64>,
    #[serde(default)]
    flag: bool,
    #[serde(default)]
    kind: Option<Variant>,
    #[serde(default)]
    list: Vec<i64>,
    #[serde(default)]
    inner: Option<Box<Mixed<'a>>>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Variant {
    One,
    Two(u8),
}

fn agree<'a, T: Deserialize<'a> + PartialEq + std::fmt::Debug>(text: &'a str) {
    if let Some(ours) = try_from_str::<T>(text) {
        let theirs: T = serde_json::from_str(text).expect("serde_json reads it too");
        assert_eq!(ours, theirs, "{text}");
    }
}

/// Reads a text in every way and holds each against serde_json.
fn all_agree(text: &str) {
    agree::<Value>(text);
    agree::<Mixed<'_>>(text);
    agree::<Vec<Value>>(text);
    agree::<BTreeMap<String, Value>>(text);
    agree::<String>(text);
    agree::<f64>(text);
    let ours = try_from_str::<&RawValue>(text).map(RawValue::get);
    let theirs = serde_json::from_str::<&RawValue>(text)
        .ok()
        .map(RawValue::get);
    if ours.is_some() {
        assert_eq!(ours, theirs, "{text}");
    }
    if try_from_str::<IgnoredAny>(text).is_some() {
        assert!(serde_json::from_str::<IgnoredAny>(text).is_ok(), "{text}");
    }
    if let Some(fields) = fields(text, usize::MAX) {
        let theirs: Vec<(String, String)> = pairs(text);
        let ours: Vec<(String, String)> = fields
            .into_iter()
            .map(|(key, at)| {
                let key = match key {
                    Key::Plain(text) => text.to_owned(),
                    Key::Escaped(raw) => serde_json::from_str(raw).unwrap_or_default(),
                };
                (key, text[at].to_owned())
            })
            .collect();
        assert_eq!(ours, theirs, "{text}");
    }
}

/// The members of an object in their order, as serde_json reads them; an escape that is no character is an empty key.
fn pairs(text: &str) -> Vec<(String, String)> {
    struct InOrder;
    impl<'a> Visitor<'a> for InOrder {
        type Value = Vec<(String, String)>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                all.push((key, value.get().to_owned()));
            }
            Ok(all)
        }
    }
    serde_json::Deserializer::from_str(text)
        .deserialize_map(InOrder)
        .expect("serde_json reads it too")
}

#[test]
fn the_end_of_a_string_is_found_wherever_it_stands() {
    for byte in 0..=u8::MAX {
        for before in [b'a', b'!', b' ', 0x7f, 0x80, 0xff, b'#', b'['] {
            for length in 1..=17 {
                for at in 0..length {
                    let mut bytes = vec![before; length];
                    bytes[at] = byte;
                    // What comes after an end changes nothing.
                    if let Some(next) = bytes.get_mut(at + 1) {
                        *next = b'"';
                    }
                    let first = bytes.iter().position(|b| ENDS[usize::from(*b)]);
                    assert_eq!(before_end(&bytes), first.unwrap_or(length), "{bytes:?}");
                }
            }
        }
    }
}

#[test]
fn what_is_read_here_is_what_serde_json_reads() {
    for text in [
        "null",
        " true ",
        "fals",
        "\"\"",
        "\"a\\u00e9\\ud83d\\ude00\\n\"",
        "\"\\ud800\"",
        "\"\\x\"",
        "\"a\nb\"",
        "\"0123456789abcdef0123\u{1}456789\"",
        "\"0123456789abcdef0123456789\\\"\\\\\"",
        "0",
        "-0",
        "01",
        "1.",
        ".5",
        "1e5",
        "1E+",
        "1e999",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "[1,2",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{a:1}",
        "{\"a\":1}{",
        "{\"a\":1} ",
        "\u{feff}{}",
        "{\"text\":\"x\",\"count\":3,\"share\":0.5,\"flag\":true,\"kind\":\"one\",\"list\":[-1,2],\"inner\":{\"kind\":{\"two\":7}}}",
        "{\"text\":\"x\",\"text\":\"y\"}",
        "{\"t\\u0065xt\":\"x\\ty\"}",
        "{\"count\":-1}",
        "{\"count\":1.0}",
        "{\"kind\":\"three\"}",
    ] {
        all_agree(text);
    }
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    for depth in [1, 119, 120, 121, 127, 128, 5_000] {
        all_agree(&deep(depth));
    }
}

#[test]
fn plain_requests_and_answers_are_read_here_and_not_a_second_time() {
    let text = r#"{"text":"Say hello, in words that take more than sixteen bytes.","count":3,"list":[1,2],"inner":{"flag":false}}"#;
    assert!(try_from_str::<Mixed<'_>>(text).is_some());
    assert!(try_from_str::<&RawValue>(text).is_some());
    assert!(fields(text, usize::MAX).is_some_and(|fields| fields.len() == 4));
}

fn json() -> impl Strategy<Value = String> {
    let text = "[a-z\"\\\\\u{0}-\u{20}\u{e9}\u{1f600}]{0,40}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("text".to_owned()),
        Just("count".to_owned()),
        Just("list".to_owned()),
        Just("inner".to_owned()),
        "[a-z\"\\\\\n]{0,4}"
    ];
    let tree = leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    });
    (tree, any::<bool>()).prop_map(|(value, pretty)| match pretty {
        true => serde_json::to_string_pretty(&value).unwrap_or_default(),
        false => value.to_string(),
    })
}

proptest! {
    #[test]
    fn any_json_is_read_as_serde_json_reads_it(text in json()) {
        all_agree(&text);
        prop_assert!(try_from_str::<IgnoredAny>(&text).is_some(), "{text}");
    }

    #[test]
    fn broken_json_is_not_read_here_where_serde_json_refuses_it(
        text in json(),
        at in any::<prop::sample::Index>(),
        with in "[\\[\\]{},:\"\\\\0-9eE+. tfn\u{1}]{0,2}",
    ) {
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let at = places[at.index(places.len())];
        let next = text[at..].chars().next().map_or(0, char::len_utf8);
        all_agree(&format!("{}{with}{}", &text[..at], &text[at + next..]));
        all_agree(&text[..at]);
    }
}
