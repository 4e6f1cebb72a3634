//! The models in Ollama's shape, and what else its clients ask a server.

use crate::dialect::directory::{Directory, ListedModel, Lookup};
use serde_json::{Value, json};

pub(super) struct OllamaModels;

impl Directory for OllamaModels {
    fn lookup<'p>(&self, path: &'p str) -> Option<Lookup<'p>> {
        let json = |value: Value| Lookup::Told("application/json", value.to_string());
        Some(match path {
            // Its clients look whether a server is there.
            "/" => Lookup::Told("text/plain; charset=utf-8", "Ollama is running".to_owned()),
            "/api/version" => json(json!({"version": env!("CARGO_PKG_VERSION")})),
            "/api/ps" => json(json!({"models": []})),
            "/api/tags" => Lookup::List,
            "/api/show" => Lookup::Named,
            _ => return None,
        })
    }

    fn named(&self, body: &[u8]) -> String {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let name = asked["model"].as_str().or(asked["name"].as_str());
        let name = name.unwrap_or_default();
        name.strip_suffix(":latest").unwrap_or(name).to_owned()
    }

    fn list(&self, models: &[ListedModel<'_>]) -> Value {
        let tag = |model: &ListedModel<'_>| json!({"name": model.name, "model": model.name, "modified_at": "1970-01-01T00:00:00Z", "size": 0, "digest": "", "details": details()});
        let tags: Vec<Value> = models.iter().map(tag).collect();
        json!({"models": tags})
    }

    fn card(&self, model: &ListedModel<'_>) -> Value {
        let mut can = vec!["completion", "tools", "vision"];
        if model.thinks {
            can.push("thinking");
        }
        if model.embeds {
            can = vec!["embedding"];
        }
        let info = json!({"general.architecture": "flyball", "flyball.context_length": model.context_tokens});
        json!({"modelfile": "", "parameters": "", "template": "", "details": details(), "model_info": info, "capabilities": can})
    }
}

fn details() -> Value {
    json!({"parent_model": "", "format": "", "family": "flyball", "families": ["flyball"], "parameter_size": "", "quantization_level": ""})
}
