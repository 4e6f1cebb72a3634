//! The models in Cohere's shape.

use crate::dialect::directory::{Directory, ListedModel};
use serde_json::{Value, json};

pub(super) struct CohereModels;

impl Directory for CohereModels {
    fn list(&self, models: &[ListedModel<'_>]) -> Value {
        let cards: Vec<Value> = models.iter().map(|model| self.card(model)).collect();
        json!({"models": cards})
    }

    fn card(&self, model: &ListedModel<'_>) -> Value {
        let endpoint = if model.embeds { "embed" } else { "chat" };
        json!({"name": model.name, "endpoints": [endpoint], "finetuned": false, "context_length": model.context_tokens, "default_endpoints": []})
    }
}
