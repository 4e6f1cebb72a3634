//! The models in Google's shape.

use crate::dialect::directory::{Directory, ListedModel};
use serde_json::{Value, json};

pub(super) struct GeminiModels;

impl Directory for GeminiModels {
    fn list(&self, models: &[ListedModel<'_>]) -> Value {
        let cards: Vec<Value> = models.iter().map(|model| self.card(model)).collect();
        json!({"models": cards})
    }

    fn card(&self, model: &ListedModel<'_>) -> Value {
        json!({"name": format!("models/{}", model.name), "version": "1", "displayName": model.name, "supportedGenerationMethods": ["generateContent", "countTokens"]})
    }
}
