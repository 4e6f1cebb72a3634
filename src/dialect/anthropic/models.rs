//! The models in Anthropic's shape.

use crate::dialect::directory::{Directory, ListedModel};
use serde_json::{Value, json};

pub(super) struct AnthropicModels;

impl Directory for AnthropicModels {
    fn list(&self, models: &[ListedModel<'_>]) -> Value {
        let cards: Vec<Value> = models.iter().map(|model| self.card(model)).collect();
        let ends = [models.first(), models.last()];
        let [first, last] = ends.map(|end| end.map(|model| model.name));
        json!({"data": cards, "has_more": false, "first_id": first, "last_id": last})
    }

    fn card(&self, model: &ListedModel<'_>) -> Value {
        json!({"type": "model", "id": model.name, "display_name": model.name, "created_at": "1970-01-01T00:00:00Z"})
    }
}
