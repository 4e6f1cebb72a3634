//! The models that a key may use, in the shape of every dialect; and the side endpoints that Ollama's clients ask for.

use super::{State, headers, reply};
use crate::caller::Caller;
use crate::error::{Error, Kind};
use crate::relay::Answer;
use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::{Value, json};

/// The names that are routed; each is listed like a model.
const ROUTED: [&str; 5] = ["auto", "auto:cheap", "auto:best", "auto:fast", "auto:local"];

/// In whose shape.
#[derive(Clone, Copy)]
enum Shape {
    OpenAi,
    Anthropic,
    Gemini,
}

/// What a path says about models; `None` where it says nothing.
pub(super) fn get(
    state: &State,
    head: &Parts,
    caller: &Caller,
) -> Option<Result<Response<Answer>, Error>> {
    let path = head.uri.path();
    let ok = |body: Value| Ok(reply::json(StatusCode::OK, body.to_string()));
    let names = || names(state, caller);
    match path {
        "/" => return Some(Ok(running())),
        "/api/version" => return Some(ok(json!({"version": env!("CARGO_PKG_VERSION")}))),
        "/api/tags" => {
            let models: Vec<Value> = names().iter().map(|name| tag(name)).collect();
            return Some(ok(json!({"models": models})));
        }
        "/api/ps" => return Some(ok(json!({"models": []}))),
        _ => {}
    }
    let start = [
        "/v1beta/models",
        "/v1/models",
        "/openai/v1/models",
        "/models",
    ];
    let rest = start.iter().find_map(|start| path.strip_prefix(start))?;
    let shape = match headers::by_header(head, path) {
        "anthropic_messages" => Shape::Anthropic,
        "gemini" => Shape::Gemini,
        _ => Shape::OpenAi,
    };
    match rest.strip_prefix('/') {
        None if rest.is_empty() => Some(ok(list(shape, &names()))),
        None => None,
        Some(name) => Some(match names().iter().find(|known| *known == name) {
            Some(name) => ok(card(shape, name)),
            None => Err(missing(name)),
        }),
    }
}

/// `POST /api/show`: what a model can do, as far as that is known here.
pub(super) fn show(state: &State, caller: &Caller, body: &[u8]) -> Result<Response<Answer>, Error> {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let name = asked["model"]
        .as_str()
        .or(asked["name"].as_str())
        .unwrap_or_default();
    let name = name.strip_suffix(":latest").unwrap_or(name);
    if !names(state, caller).iter().any(|known| known == name) {
        return Err(missing(name));
    }
    let policy = state.policy.load();
    let model = policy.fleet.named(name);
    let thinks = model.is_none_or(|m| !m.accepts.efforts.is_empty());
    let mut can = vec!["completion", "tools", "vision"];
    if thinks {
        can.push("thinking");
    }
    if model.is_some_and(|m| m.embeds) {
        can = vec!["embedding"];
    }
    let context = model.and_then(|m| m.context_tokens);
    let info = json!({"general.architecture": "flyball", "flyball.context_length": context});
    let body = json!({"modelfile": "", "parameters": "", "template": "", "details": details(), "model_info": info, "capabilities": can});
    Ok(reply::json(StatusCode::OK, body.to_string()))
}

/// Ollama's clients look whether a server is there.
fn running() -> Response<Answer> {
    let mut answer = Response::new(Answer::whole("Ollama is running"));
    headers::set_type(answer.headers_mut(), "text/plain; charset=utf-8");
    answer
}

fn missing(name: &str) -> Error {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    Error::new(
        Kind::NotFound,
        format!("There is no model named \"{shown}\" that this key may use."),
    )
    .code("model_not_found")
}

/// The routed names first, then every model that the key may use.
fn names(state: &State, caller: &Caller) -> Vec<String> {
    let policy = state.policy.load();
    let models = policy.fleet.models.iter().map(|m| m.name.clone());
    let own = models.filter(|name| caller.may_use(name));
    ROUTED
        .iter()
        .map(|name| (*name).to_owned())
        .chain(own)
        .collect()
}

fn list(shape: Shape, names: &[String]) -> Value {
    let cards: Vec<Value> = names.iter().map(|name| card(shape, name)).collect();
    match shape {
        Shape::OpenAi => json!({"object": "list", "data": cards}),
        Shape::Anthropic => {
            json!({"data": cards, "has_more": false, "first_id": names.first(), "last_id": names.last()})
        }
        Shape::Gemini => json!({"models": cards}),
    }
}

fn card(shape: Shape, name: &str) -> Value {
    match shape {
        Shape::OpenAi => {
            json!({"id": name, "object": "model", "created": 0, "owned_by": "flyball"})
        }
        Shape::Anthropic => {
            json!({"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"})
        }
        Shape::Gemini => {
            json!({"name": format!("models/{name}"), "version": "1", "displayName": name, "supportedGenerationMethods": ["generateContent", "countTokens"]})
        }
    }
}

fn tag(name: &str) -> Value {
    json!({"name": name, "model": name, "modified_at": "1970-01-01T00:00:00Z", "size": 0, "digest": "", "details": details()})
}

fn details() -> Value {
    json!({"parent_model": "", "format": "", "family": "flyball", "families": ["flyball"], "parameter_size": "", "quantization_level": ""})
}
