//! Which of pictures, sound and documents a model takes. Pure.
//!
//! What is known is data (`src/data/senses.json`); the operator's own word goes before it. What nobody says is not known, and keeps
//! nothing away from a model.

use crate::capability::Capability;
use crate::price::without_date;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// What a model takes beside words; `None` where nobody says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Senses {
    /// Pictures.
    pub images: Option<bool>,
    /// Sound.
    pub audio: Option<bool>,
    /// Documents.
    pub documents: Option<bool>,
}

/// What a request carries beside words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Pictures.
    pub images: bool,
    /// Sound.
    pub audio: bool,
    /// Documents.
    pub documents: bool,
}

impl Senses {
    /// These, and where they are silent the others.
    #[must_use]
    pub fn or(self, other: Senses) -> Senses {
        Senses {
            images: self.images.or(other.images),
            audio: self.audio.or(other.audio),
            documents: self.documents.or(other.documents),
        }
    }

    /// What a request carries that is known not to be taken.
    #[must_use]
    pub fn lacking(self, carried: Carried) -> Option<&'static str> {
        let lacks = |sense: Option<bool>, there: bool| there && sense == Some(false);
        if lacks(self.images, carried.images) {
            Some(Capability::Images.lacking())
        } else if lacks(self.audio, carried.audio) {
            Some(Capability::Audio.lacking())
        } else if lacks(self.documents, carried.documents) {
            Some(Capability::Documents.lacking())
        } else {
            None
        }
    }

    /// A row's heading: `text`, or what is taken beside text.
    fn listed(heading: &str) -> Senses {
        let has = |word: &str| Some(heading.split(' ').any(|w| w == word));
        Senses {
            images: has("image"),
            audio: has("sound"),
            documents: has("document"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "_source")]
    _source: String,
    kinds: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

#[derive(Default)]
struct SensesTable {
    kinds: BTreeMap<String, BTreeMap<String, Senses>>,
    /// Names without their maker, with all that any provider says of them.
    anywhere: BTreeMap<String, Vec<Senses>>,
}

fn table() -> &'static SensesTable {
    static TABLE: OnceLock<SensesTable> = OnceLock::new();
    TABLE.get_or_init(|| {
        let file: File = serde_json::from_str(include_str!("../data/senses.json"))
            .expect("a test reads the embedded table");
        let mut table = SensesTable::default();
        for (kind, rows) in file.kinds {
            let models = table.kinds.entry(kind).or_default();
            for (heading, names) in rows {
                let senses = Senses::listed(&heading);
                for name in names {
                    let bare = bare(&name).to_owned();
                    table.anywhere.entry(bare).or_default().push(senses);
                    models.insert(name, senses);
                }
            }
        }
        table
    })
}

/// The name without its maker: `gpt-oss-20b` of `openai/gpt-oss-20b`.
fn bare(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// What is known of a model of this name at this kind of provider. At a provider that is not listed a name counts as it does
/// where it is, as far as all who list it agree that it takes words alone.
#[must_use]
pub fn senses(kind: &str, model: &str) -> Senses {
    let table = table();
    let name = model.to_ascii_lowercase();
    let names = [Some(name.as_str()), without_date(&name)];
    let names = names.into_iter().flatten();
    if let Some(models) = table.kinds.get(kind) {
        let mut known = names.filter_map(|name| models.get(name));
        return known.next().copied().unwrap_or_default();
    }
    let mut known = names.filter_map(|name| table.anywhere.get(bare(name)));
    let words_only = Senses::listed("text");
    match known.next() {
        Some(all) if all.iter().all(|s| *s == words_only) => words_only,
        _ => Senses::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_known_by_its_name_its_dated_name_and_at_servers_that_nobody_lists() {
        for (kind, model, images) in [
            ("groq", "openai/gpt-oss-20b", Some(false)),
            ("openai", "gpt-4.1-mini", Some(true)),
            ("openai", "gpt-4.1-mini-2025-04-14", Some(true)),
            ("openai", "o3-mini", Some(false)),
            ("anthropic", "claude-opus-4-5", Some(true)),
            ("deepseek", "deepseek-chat", Some(false)),
            ("vllm", "openai/gpt-oss-20b", Some(false)),
            ("vllm", "own/model", None),
            ("openai", "gpt-99", None),
            ("openai-compatible", "gpt-4.1-mini", None),
            ("simulated", "sim-small", None),
        ] {
            assert_eq!(senses(kind, model).images, images, "{kind} {model}");
        }
    }

    #[test]
    fn only_what_is_known_to_be_lacking_keeps_a_request_away() {
        let blind = Senses::listed("text");
        let picture = Carried {
            images: true,
            ..Carried::default()
        };
        assert_eq!(blind.lacking(picture), Some("it sees no pictures"));
        assert_eq!(blind.lacking(Carried::default()), None);
        assert_eq!(Senses::default().lacking(picture), None);
        let own = Senses {
            images: Some(true),
            ..Senses::default()
        };
        assert_eq!(own.or(blind).lacking(picture), None);
        let sound = Carried {
            audio: true,
            ..Carried::default()
        };
        assert_eq!(
            Senses::listed("document image").lacking(sound),
            Some("it hears no sound")
        );
    }
}
