//! How a dialect's clients ask which models there are, and what they are told.

use serde_json::{Value, json};

/// What a path asks about models, or about the server itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<'p> {
    /// Which there are.
    List,
    /// The one that the path names.
    One(&'p str),
    /// The one that the body of a POST names.
    Named,
    /// Something that is the same for everybody: its media type, and it.
    Told(&'static str, String),
}

/// A model, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedModel<'a> {
    /// Its name.
    pub name: &'a str,
    /// It may think.
    pub thinks: bool,
    /// It makes embeddings, and nothing else.
    pub embeds: bool,
    /// How many tokens it can read.
    pub context_tokens: Option<u64>,
}

/// The models in a dialect's shape.
pub trait Directory: Sync {
    /// What a path asks; `None` where it is no question of this dialect.
    fn lookup<'p>(&self, path: &'p str) -> Option<Lookup<'p>> {
        let mut starts = STARTS.iter();
        let rest = starts.find_map(|start| path.strip_prefix(start))?;
        match rest.strip_prefix('/') {
            None => rest.is_empty().then_some(Lookup::List),
            Some(name) => Some(Lookup::One(name)),
        }
    }

    /// The name that a body asks for.
    fn named(&self, _body: &[u8]) -> String {
        String::new()
    }

    /// All of them.
    fn list(&self, models: &[ListedModel<'_>]) -> Value;

    /// One of them.
    fn card(&self, model: &ListedModel<'_>) -> Value;
}

/// The folders of models that all the vendors' clients share.
const STARTS: [&str; 4] = [
    "/v1beta/models",
    "/v1/models",
    "/openai/v1/models",
    "/models",
];

/// OpenAI's shape, which everybody understands who says nothing else.
pub struct OpenAi;

impl Directory for OpenAi {
    fn list(&self, models: &[ListedModel<'_>]) -> Value {
        let cards: Vec<Value> = models.iter().map(|model| self.card(model)).collect();
        json!({"object": "list", "data": cards})
    }

    fn card(&self, model: &ListedModel<'_>) -> Value {
        json!({"id": model.name, "object": "model", "created": 0, "owned_by": "flyball"})
    }
}
