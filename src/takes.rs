//! What a vendor takes of a request besides its words, where another vendor takes more: how many texts that end an answer, which
//! ids and names, how long a label, which schemas. Data (`src/data/takes.json`, each row with its source); how a dialect says
//! these things stands beside the dialect (`dialect::bend`).

use crate::capability::{Capabilities, Capability};
use crate::pattern::begins;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::OnceLock;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TakesTable {
    #[serde(rename = "_source")]
    _source: String,
    rows: Vec<TakesRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TakesRow {
    kinds: Vec<String>,
    #[serde(default)]
    models: Vec<String>,
    #[serde(default)]
    exactly: Vec<String>,
    stop: Option<usize>,
    blank_stop: Option<bool>,
    call_id: Option<Form>,
    tool_name: Option<Form>,
    label: Option<Label>,
    tools: Option<usize>,
    whole_schemas: Option<bool>,
    strict: Option<Strict>,
    blank_text: Option<bool>,
    marks: Option<usize>,
    no_limit: Option<bool>,
    system_turns: Option<bool>,
    one_sampler: Option<bool>,
    effort_in_band: Option<bool>,
    logprobs: Option<bool>,
    instructions: Option<bool>,
    tool_use: Option<bool>,
    json_mode: Option<bool>,
    json_schema: Option<bool>,
    choices: Option<bool>,
    limit_above_max: Option<bool>,
    limit_in_context: Option<bool>,
    #[serde(default)]
    refuses: Vec<String>,
    #[serde(default)]
    renames: BTreeMap<String, String>,
    #[serde(rename = "source")]
    _source: String,
}

impl TakesRow {
    fn is_of(&self, kind: &str, model: &str) -> bool {
        let every = self.models.is_empty() && self.exactly.is_empty();
        let named = || {
            self.models.iter().any(|pattern| begins(pattern, model))
                || self.exactly.iter().any(|name| name == model)
        };
        self.kinds.iter().any(|k| k == kind) && (every || named())
    }
}

/// What one model takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Takes {
    /// So many texts that end the answer; `None` where nobody says.
    pub stop: Option<usize>,
    /// It refuses such a text that is white space alone.
    pub refuses_blank_stop: bool,
    /// What the id of a call must look like.
    pub call_id: Option<&'static Form>,
    /// What the name of a tool must look like.
    pub tool_name: Option<&'static Form>,
    /// What the label of the user must be.
    pub label: Option<&'static Label>,
    /// So many tools.
    pub tools: Option<usize>,
    /// The schema of an object must have properties, that of an array items.
    pub whole_schemas: bool,
    /// What a schema must be that is to be followed exactly.
    pub strict: Option<&'static Strict>,
    /// It refuses a text that is white space alone.
    pub refuses_blank_text: bool,
    /// So many marks for the prompt cache; `None` where nobody says.
    pub marks: Option<usize>,
    /// A token limit below zero says that there is none.
    pub no_limit: bool,
    /// It refuses instructions between the turns of a conversation.
    pub refuses_system_turns: bool,
    /// It refuses `temperature` and `top_p` at once.
    pub one_sampler: bool,
    /// It takes a change of effort within the conversation.
    pub effort_in_band: bool,
    /// It tells how likely the tokens of its answer were, where it is asked to and does not think.
    pub logprobs: bool,
    /// What it is known not to be able to do.
    pub lacks: Capabilities,
    /// It refuses a token limit above its longest answer.
    pub refuses_long_limit: bool,
    /// The prompt and the token limit must fit its context together.
    pub limit_in_context: bool,
    /// A search of the web, which the provider makes itself, is not to be offered to it. No vendor says so: a cap may.
    pub no_search: bool,
    refuses: &'static [String],
    renames: Option<&'static BTreeMap<String, String>>,
}

impl Takes {
    /// What this model of a provider of this kind takes. Of several rows the first that has a field decides it.
    #[must_use]
    pub fn of(kind: &str, model: &str) -> Takes {
        let model = model.to_ascii_lowercase();
        let mut takes = Takes::default();
        let rows = table().rows.iter();
        let rows: Vec<&'static TakesRow> = rows.filter(|row| row.is_of(kind, &model)).collect();
        takes.stop = rows.iter().find_map(|row| row.stop);
        takes.refuses_blank_stop = rows.iter().find_map(|row| row.blank_stop) == Some(false);
        takes.call_id = rows.iter().find_map(|row| row.call_id.as_ref());
        takes.tool_name = rows.iter().find_map(|row| row.tool_name.as_ref());
        takes.label = rows.iter().find_map(|row| row.label.as_ref());
        takes.tools = rows.iter().find_map(|row| row.tools);
        takes.whole_schemas = rows.iter().find_map(|row| row.whole_schemas) == Some(true);
        takes.strict = rows.iter().find_map(|row| row.strict.as_ref());
        takes.refuses_blank_text = rows.iter().find_map(|row| row.blank_text) == Some(false);
        takes.marks = rows.iter().find_map(|row| row.marks);
        takes.no_limit = rows.iter().find_map(|row| row.no_limit) == Some(true);
        takes.refuses_system_turns = rows.iter().find_map(|row| row.system_turns) == Some(false);
        takes.one_sampler = rows.iter().find_map(|row| row.one_sampler) == Some(true);
        takes.effort_in_band = rows.iter().find_map(|row| row.effort_in_band) == Some(true);
        takes.logprobs = rows.iter().find_map(|row| row.logprobs) == Some(true);
        takes.lacks = lacks(&rows);
        takes.refuses_long_limit = rows.iter().find_map(|row| row.limit_above_max) == Some(false);
        takes.limit_in_context = rows.iter().find_map(|row| row.limit_in_context) == Some(true);
        let refusing = rows.iter().find(|row| !row.refuses.is_empty());
        takes.refuses = refusing.map_or(&[], |row| &row.refuses);
        let renaming = rows.iter().find(|row| !row.renames.is_empty());
        takes.renames = renaming.map(|row| &row.renames);
        takes
    }

    /// Top-level fields of Chat Completions that are refused.
    #[must_use]
    pub fn refuses(&self) -> &'static [String] {
        self.refuses
    }

    /// Top-level fields of Chat Completions that have another name here: pairs of theirs and the one here.
    pub fn renames(&self) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
        let pairs = self.renames.into_iter().flatten();
        pairs.map(|(theirs, here)| (theirs.as_str(), here.as_str()))
    }
}

/// What the rows say that a model cannot do.
fn lacks(rows: &[&TakesRow]) -> Capabilities {
    type Field = fn(&TakesRow) -> Option<bool>;
    let fields: [(Capability, Field); 6] = [
        (Capability::Instructions, |row| row.instructions),
        (Capability::Tools, |row| row.tool_use),
        (Capability::Json, |row| row.json_mode),
        (Capability::Schema, |row| row.json_schema),
        (Capability::Choices, |row| row.choices),
        (Capability::Logprobs, |row| row.logprobs),
    ];
    let mut lacks = Capabilities::default();
    for (capability, field) in fields {
        let said = rows.iter().find_map(|row| field(row));
        lacks = lacks.set(capability, said == Some(false));
    }
    lacks
}

/// What an id or a name must look like.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    also: String,
    min: usize,
    max: usize,
    #[serde(default)]
    letter: bool,
}

/// So many characters of a fitted name tell it from others that begin alike.
const TELLING: usize = 8;

impl Form {
    fn takes(&self, c: char) -> bool {
        c.is_ascii_alphanumeric() || self.also.contains(c)
    }

    /// Whether this is such a name.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        let count = name.chars().count();
        let begins_well = !self.letter || !name.starts_with(|c: char| !begins_a_name(c));
        (self.min..=self.max).contains(&count) && begins_well && name.chars().all(|c| self.takes(c))
    }

    /// A name that fits: always the same for the same name, and another one for every other.
    #[must_use]
    pub fn fitted(&self, name: &str) -> String {
        if self.fits(name) {
            return name.to_owned();
        }
        let telling = self.max.min(TELLING);
        let room = self.max - telling;
        // A short form, and one that has no character to part words with, is the digest alone.
        if room < TELLING || !self.takes('_') {
            return digest(name, self.max.min(24).max(self.min));
        }
        let mut fitted = String::new();
        if self.letter && name.starts_with(|c: char| !begins_a_name(c)) {
            fitted.push('_');
        }
        let fitting = name.chars().map(|c| if self.takes(c) { c } else { '_' });
        fitted.extend(fitting);
        fitted.truncate(room - 1);
        fitted.push('_');
        fitted + &digest(name, telling)
    }
}

fn begins_a_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

/// Letters and digits that follow from a text and tell it from any other.
#[must_use]
pub fn digest(text: &str, length: usize) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let hash = Sha256::digest(text.as_bytes());
    let (first, last) = hash.split_at(16);
    let number = |bytes: &[u8]| bytes.iter().fold(0_u128, |n, b| (n << 8) | u128::from(*b));
    let (mut one, mut other) = (number(first), number(last));
    let mut digits = String::with_capacity(length);
    while digits.len() < length {
        if digits.len() == 20 {
            one = std::mem::take(&mut other);
        }
        digits.push(char::from(DIGITS[(one % 62) as usize]));
        one /= 62;
    }
    digits
}

/// What the label of the user must be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    max: usize,
    #[serde(default = "yes")]
    address: bool,
}

fn yes() -> bool {
    true
}

impl Label {
    /// The label as it is taken where it is not so already: its digest, which is as good a label and names nobody.
    #[must_use]
    pub fn fitted(&self, label: &str) -> Option<String> {
        let long = label.chars().count() > self.max;
        let names_somebody = !self.address && (is_address(label) || is_telephone(label));
        (long || names_somebody).then(|| format!("user_{}", digest(label, 32)))
    }
}

fn is_address(label: &str) -> bool {
    let mut words = label.split_whitespace();
    words.any(|word| {
        let parts = word.split_once('@');
        parts.is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
    })
}

fn is_telephone(label: &str) -> bool {
    let digits = label.chars().filter(char::is_ascii_digit).count();
    let only = |c: char| c.is_ascii_digit() || "+-() .".contains(c);
    (7..=15).contains(&digits) && label.starts_with(['+', '(']) && label.chars().all(only)
}

/// What a schema must be that is to be followed exactly.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strict {
    /// Every property of an object is required.
    #[serde(default)]
    pub all_required: bool,
    /// Every object says that it has no other properties.
    #[serde(default)]
    pub closed: bool,
    /// Keywords that are refused.
    pub refuses: Vec<String>,
    /// Keywords whose number may be no larger.
    #[serde(default)]
    pub at_most: BTreeMap<String, u64>,
    /// The formats of a text that are taken.
    pub formats: Vec<String>,
    /// What is done where a schema is not so.
    pub instead: Instead,
}

/// What is done with a schema that cannot be followed exactly.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Instead {
    /// It is said without the wish to follow it exactly.
    Loose,
    /// What is refused is said in words, in the description.
    Described,
}

fn table() -> &'static TakesTable {
    static TABLE: OnceLock<TakesTable> = OnceLock::new();
    TABLE.get_or_init(|| {
        serde_json::from_str(include_str!("data/takes.json"))
            .expect("a test reads the embedded table")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_models_of_openai_take_a_text_that_ends_the_answer() {
        for (kind, model, stop) in [
            ("openai", "gpt-5", Some(0)),
            ("openai", "gpt-5-mini", Some(0)),
            ("openai", "gpt-5-2025-08-07", Some(0)),
            ("azure", "o3", Some(0)),
            ("openai", "O4-mini", Some(0)),
            ("openai", "gpt-5-chat-latest", Some(4)),
            ("openai", "gpt-5.1", Some(4)),
            ("openai", "gpt-4.1", Some(4)),
            ("xai", "grok-4", Some(0)),
            ("xai", "grok-4-1-fast-non-reasoning", Some(4)),
            ("xai", "grok-3", Some(4)),
            ("anthropic", "claude-sonnet-5", None),
            ("openai-compatible", "o3", None),
        ] {
            assert_eq!(Takes::of(kind, model).stop, stop, "{kind} {model}");
        }
    }

    #[test]
    fn only_what_a_vendor_says_that_a_model_cannot_do_is_lacking() {
        use Capability::{Choices, Instructions, Logprobs, Schema, Tools};
        for (kind, model, lacking) in [
            (
                "groq",
                "llama-3.1-8b-instant",
                &[Schema, Choices, Logprobs][..],
            ),
            ("groq", "openai/gpt-oss-20b", &[Choices, Logprobs]),
            ("gemini", "gemini-3.1-flash-lite", &[Choices]),
            ("gemini", "gemini-2.5-flash", &[]),
            ("gemini", "gemma-3-27b-it", &[Instructions, Tools, Schema]),
            ("openai", "gpt-4-turbo", &[Schema]),
            ("openai", "gpt-4.1", &[]),
            ("anthropic", "claude-sonnet-4-20250514", &[Schema]),
            ("anthropic", "claude-sonnet-4-5", &[]),
            ("ollama", "qwen3:8b", &[Choices]),
            ("openai-compatible", "gpt-4-turbo", &[]),
        ] {
            let lacks = Takes::of(kind, model).lacks;
            let all = Capability::ALL.into_iter();
            let found: Vec<Capability> = all.filter(|one| lacks.has(*one)).collect();
            assert_eq!(found, lacking, "{kind} {model}");
        }
    }

    #[test]
    fn every_kind_of_the_table_is_one_that_there_is() {
        let kinds = crate::provider::ALL.iter().map(|kind| kind.name);
        let kinds: Vec<&str> = kinds.collect();
        for kind in table().rows.iter().flat_map(|row| &row.kinds) {
            assert!(kinds.contains(&kind.as_str()), "{kind}");
        }
    }

    #[test]
    fn what_is_fitted_fits_and_tells_apart() {
        let mistral = Takes::of("mistral", "mistral-large")
            .call_id
            .expect("a form");
        let long = "mcp__".repeat(30);
        let names = [
            "toolu_01A",
            "toolu_01B",
            "a:1",
            "a.1",
            "",
            "ü",
            "123456789",
            &long,
        ];
        let forms = ["openai", "anthropic", "gemini", "mistral"];
        let forms = forms.map(|kind| Takes::of(kind, "m").tool_name.expect("a form"));
        for form in forms.iter().copied().chain([mistral]) {
            let fitted = names.map(|name| form.fitted(name));
            for (name, fitted) in names.iter().zip(&fitted) {
                assert!(form.fits(fitted), "{name} {fitted}");
                assert_eq!(form.fits(name), name == fitted);
            }
            let apart: std::collections::BTreeSet<&String> = fitted.iter().collect();
            assert_eq!(apart.len(), names.len(), "{fitted:?}");
        }
    }

    #[test]
    fn a_label_names_nobody_where_it_may_not() {
        let label = |kind| Takes::of(kind, "m").label.expect("a rule");
        assert_eq!(label("openai").fitted("ann@example.org"), None);
        let hidden = label("anthropic")
            .fitted("ann@example.org")
            .expect("hidden");
        assert!(!hidden.contains('@') && hidden.len() <= 64, "{hidden}");
        assert_eq!(label("anthropic").fitted("user-7"), None);
        let long = label("openai").fitted(&"a".repeat(65)).expect("too long");
        assert!(long.len() <= 64, "{long}");
    }
}
