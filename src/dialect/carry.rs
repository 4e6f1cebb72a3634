//! How one model's sealed reasoning travels through a client that speaks another dialect: as an opaque
//! text with a mark, so that it finds its way back to the model that made it, and only there.

use super::Frame;
use crate::chat::conversation::State;
use crate::price::without_date;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Begins every such text; no vendor's own begin so.
pub(super) const MARK: &str = "flyball1.";

/// The value of reasoning of which the words alone were told: it is no signature.
pub(super) const WORDS_ONLY: &str = "text";

/// Begins a value with which the words travel that it seals, since the client is not shown them: `hidden:WORDS:VALUE`, the words in base64.
const HIDDEN: &str = "hidden:";

/// Begins the value of Anthropic's redacted thinking, to tell it from a signature.
pub(super) const REDACTED: &str = "redacted:";

/// Packs a state into one text without white space or quotes of its own making. Its model is the one that was asked, by the name that it
/// is configured and asked again by: an answer may call it by a longer one.
pub(super) fn pack(state: &State, frame: &Frame) -> String {
    let or = |own: &str, asked: &str| match own.is_empty() {
        true => asked.to_owned(),
        false => own.to_owned(),
    };
    let model = or(&state.model, &frame.maker);
    let dialect = or(&state.dialect, frame.from);
    format!("{MARK}{dialect}.{}.{}", escape(&model), state.value)
}

/// Unpacks; a text without the mark was made by `own`, the dialect that it arrived in, by a model nobody knows.
pub(super) fn unpack(text: &str, own: &str) -> State {
    let packed = text.strip_prefix(MARK).and_then(|rest| {
        let (dialect, rest) = rest.split_once('.')?;
        let (model, value) = rest.split_once('.')?;
        Some(State {
            dialect: dialect.to_owned(),
            model: unescape(model),
            value: value.to_owned(),
        })
    });
    packed.unwrap_or_else(|| State {
        dialect: own.to_owned(),
        model: String::new(),
        value: text.to_owned(),
    })
}

/// A state with the words that the client is not shown in it.
pub(super) fn with_words(state: State, words: &str) -> State {
    if words.is_empty() {
        return state;
    }
    let words = URL_SAFE_NO_PAD.encode(words);
    State {
        value: format!("{HIDDEN}{words}:{}", state.value),
        ..state
    }
}

/// The words that were not shown, and the state without them.
pub(super) fn words_of(state: State) -> (String, State) {
    let split = state.value.strip_prefix(HIDDEN).and_then(|rest| {
        let (words, value) = rest.split_once(':')?;
        let words = String::from_utf8(URL_SAFE_NO_PAD.decode(words).ok()?).ok()?;
        Some((words, value.to_owned()))
    });
    match split {
        Some((words, value)) => (words, State { value, ..state }),
        None => (String::new(), state),
    }
}

/// What a model of this dialect may get back: its own.
pub(super) fn fits<'s>(state: Option<&'s State>, dialect: &str, model: &str) -> Option<&'s str> {
    let state = state?;
    let maker = state.model.as_str();
    let own = state.dialect == dialect && (maker.is_empty() || is_same(maker, model));
    own.then_some(state.value.as_str())
}

/// Two names of one model: a vendor lists it with a date at its end and without one, and either may be asked for.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let plain = |name: &'_ str| without_date(name).unwrap_or(name).len();
    one.get(..plain(one)) == other.get(..plain(other)) && (one == other || one.len() != other.len())
}

/// A model's name may have dots; here they part fields.
fn escape(model: &str) -> String {
    model.replace('~', "~0").replace('.', "~1")
}

fn unescape(model: &str) -> String {
    model.replace("~1", ".").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_to_its_own_model_and_to_no_other() {
        let state = State {
            dialect: "gemini".into(),
            model: "gemini-3.8~x".into(),
            value: "a.b~c==".into(),
        };
        let back = unpack(&pack(&state, &Frame::default()), "anthropic_messages");
        assert_eq!(back, state);
        assert_eq!(fits(Some(&back), "gemini", "gemini-3.8~x"), Some("a.b~c=="));
        assert_eq!(fits(Some(&back), "gemini", "gemini-2.5"), None);
        for (one, other, same) in [
            ("claude-x", "claude-x-20250929", true),
            ("gpt-5-2025-08-07", "gpt-5", true),
            ("gpt-5-2025-08-07", "gpt-5-2025-09-01", false),
            ("gpt-5", "gpt-5-mini", false),
        ] {
            assert_eq!(is_same(one, other), same, "{one} and {other}");
        }
        assert_eq!(
            fits(Some(&back), "anthropic_messages", "gemini-3.8~x"),
            None
        );
        let hidden = with_words(state.clone(), "hm, so?");
        assert_eq!(words_of(hidden), ("hm, so?".to_owned(), state.clone()));
        assert_eq!(words_of(state.clone()), (String::new(), state));
        let own = unpack("plain", "anthropic_messages");
        assert_eq!(fits(Some(&own), "anthropic_messages", "any"), Some("plain"));
    }
}
