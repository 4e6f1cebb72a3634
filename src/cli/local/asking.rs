//! What local servers tell of their models, and how fast these answer.

use crate::cli::own::OwnFlyball;
use crate::cli::{Common, client};
use crate::fleet::Model;
use crate::ledger::now_ms;
use crate::ledger::store::Key;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// So long a local server may take to list its models.
const LIST: Duration = Duration::from_secs(5);
/// So many names of 36 characters are to be read: some 800 tokens, and no two prompts begin alike.
const NAMES: usize = 30;
/// So many tokens are to be written.
const WRITTEN: u64 = 64;
/// From fewer nothing can be told.
const WRITTEN_LEAST: u64 = 8;

/// What a server tells of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its weights, in bytes.
    pub(super) size: Option<u64>,
    /// Tokens of prompt and answer together, as it is or would be loaded.
    pub(super) context: Option<u64>,
    /// It is in memory now.
    pub(super) loaded: bool,
}

/// How fast a model was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) model: String,
    /// So many requests were under way at once.
    pub(super) at_once: u32,
    /// Thousandths of a token of the prompt that each of them has read in a second.
    pub(super) prefill_milli: u64,
    /// Thousandths of a token of the answer that each of them has written in a second.
    pub(super) decode_milli: u64,
    /// Tokens of prompt and answer together, where its server tells.
    pub(super) context_tokens: Option<u64>,
    /// When, in milliseconds since 1970.
    pub(super) measured_ms: i64,
}

/// What the servers tell of these models; nothing of one whose server does not answer.
pub(super) async fn listed(models: &[Arc<Model>]) -> Vec<Listed> {
    let mut all = Vec::with_capacity(models.len());
    let mut lists: Vec<(String, Vec<Value>)> = Vec::new();
    for model in models {
        let provider = &model.provider;
        if !lists.iter().any(|(name, _)| *name == provider.name) {
            lists.push((provider.name.clone(), lists_of(model).await));
        }
        let known = lists.iter().find(|(name, _)| *name == provider.name);
        let entries = known.map_or(&[][..], |(_, lists)| lists);
        let mut told = of_lists(entries, &model.name);
        told.context = told.context.or(model.context_tokens);
        all.push(told);
    }
    all
}

/// Every list of models that the server of this model has: one in its own form, one in OpenAI's.
async fn lists_of(model: &Model) -> Vec<Value> {
    let provider = &model.provider;
    let Some(signature) = &provider.kind.signature else {
        return Vec::new();
    };
    let mut lists = Vec::new();
    let home = &provider.home;
    let key = home.api_key.as_ref().map(|key| key.expose_secret());
    for path in [signature.path, signature.models] {
        let asked = client::get(&home.base_url, path, key);
        if let Ok(Ok(answer)) = tokio::time::timeout(LIST, asked).await
            && answer.status == 200
        {
            lists.push(answer.json());
        }
    }
    lists
}

/// What is told of a model in lists as Ollama, LM Studio and llama.cpp's server write them.
fn of_lists(lists: &[Value], model: &str) -> Listed {
    let entries = lists.iter().flat_map(|list| {
        let parts = ["models", "data"].iter().filter_map(|name| list.get(name));
        parts.filter_map(Value::as_array).flatten()
    });
    let of_model = entries.filter(|entry| {
        let names = ["id", "name", "model", "key"].iter();
        names
            .filter_map(|name| entry.get(name)?.as_str())
            .any(|name| name == model)
    });
    let number = |value: Option<&Value>| value.and_then(Value::as_u64).filter(|n| *n > 0);
    let mut told = Listed::default();
    for entry in of_model {
        let meta = entry.get("meta");
        let size = number(entry.get("size"))
            .or_else(|| number(entry.get("size_bytes")))
            .or_else(|| number(meta.and_then(|meta| meta.get("size"))));
        let instance = entry.get("loaded_instances").and_then(|all| all.get(0));
        let context = number(instance.and_then(|one| one.pointer("/config/context_length")))
            .or_else(|| number(meta.and_then(|meta| meta.get("n_ctx"))))
            .or_else(|| number(entry.get("max_context_length")));
        told.size = told.size.or(size);
        told.context = told.context.or(context);
        // llama.cpp's server has one model, in memory as long as it runs, and tells how it has laid it out.
        told.loaded |= instance.is_some() || meta.is_some_and(Value::is_object);
    }
    told
}

/// Measures these models, one after the other, through a flyball of our own.
pub(super) async fn measure(
    common: &Common,
    models: &[&str],
    at_once: u32,
    listed: &[Listed],
) -> Result<Vec<Measured>, String> {
    let secret = format!("fb_local_{}", uuid::Uuid::now_v7());
    let key = Key {
        name: "local".into(),
        hash: crate::caller::hash(secret.as_bytes()),
        created: crate::ledger::now(),
        ..Key::default()
    };
    let own = OwnFlyball::start(common, &key, |_| Ok(())).await?;
    let mut all = Vec::new();
    let mut failed = None;
    for (model, listed) in models.iter().zip(listed) {
        eprintln!("{model}: reading and writing with {at_once} at once …");
        let asked = Asked {
            url: own.url(),
            secret: secret.clone(),
            model: (*model).to_owned(),
        };
        match asked.measure(at_once).await {
            Ok((prefill_milli, decode_milli)) => all.push(Measured {
                model: (*model).to_owned(),
                at_once,
                prefill_milli,
                decode_milli,
                context_tokens: listed.context,
                measured_ms: now_ms(),
            }),
            Err(why) => failed = Some(format!("{model}: {why}")),
        }
        if let Some(why) = &failed {
            eprintln!("{why}");
        }
    }
    own.close().await?;
    match failed {
        Some(why) if all.is_empty() => Err(why),
        _ => Ok(all),
    }
}

/// One model, and how to reach it.
#[derive(Clone)]
struct Asked {
    url: String,
    secret: String,
    model: String,
}

/// What an answer took.
#[derive(Clone, Copy, Debug)]
struct Took {
    input: u64,
    output: u64,
    time: Duration,
}

impl Asked {
    /// How many thousandths of a token a second each of so many requests at once reads and writes.
    async fn measure(&self, at_once: u32) -> Result<(u64, u64), String> {
        // The first answer also loads the model.
        self.ask("Say yes.".into(), 1).await?;
        let read = self.together(at_once, 1, names).await?;
        let prefill = slowest(&read, |took| took.input, Duration::ZERO)
            .ok_or("its answers do not tell how many tokens were read")?;
        let begin = self.ask("Say yes.".into(), 1).await?.time;
        let written = self.together(at_once, WRITTEN, count_up).await?;
        if written.iter().any(|took| took.output < WRITTEN_LEAST) {
            return Err("its answers are too short to tell how fast it writes".into());
        }
        let decode = slowest(&written, |took| took.output, begin)
            .ok_or("its answers do not tell how many tokens were written")?;
        Ok((prefill, decode))
    }

    /// So many at once, each with a prompt of its own.
    async fn together(
        &self,
        at_once: u32,
        tokens: u64,
        prompt: fn() -> String,
    ) -> Result<Vec<Took>, String> {
        let mut all = JoinSet::new();
        for _ in 0..at_once {
            let (asked, prompt) = (self.clone(), prompt());
            all.spawn(async move { asked.ask(prompt, tokens).await });
        }
        let mut took = Vec::new();
        while let Some(one) = all.join_next().await {
            took.push(one.map_err(|error| error.to_string())??);
        }
        Ok(took)
    }

    async fn ask(&self, prompt: String, tokens: u64) -> Result<Took, String> {
        let body = json!({
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens,
            "temperature": 0,
        });
        let began = Instant::now();
        let path = "/v1/chat/completions";
        let answer = client::post(&self.url, path, Some(&self.secret), &[], &body).await?;
        let time = began.elapsed();
        if answer.status != 200 {
            return Err(format!("it does not answer:\n{}", answer.excerpt()));
        }
        let told = answer.json();
        let used = |name: &str| told.pointer(name).and_then(Value::as_u64).unwrap_or(0);
        let cached = used("/usage/prompt_tokens_details/cached_tokens");
        Ok(Took {
            input: used("/usage/prompt_tokens").saturating_sub(cached),
            output: used("/usage/completion_tokens"),
            time,
        })
    }
}

/// What nobody has read before.
fn names() -> String {
    let name = |_| {
        // Its end differs most from that of any other.
        let name = uuid::Uuid::now_v7().to_string();
        name.chars().rev().collect::<String>()
    };
    let names: Vec<String> = (0..NAMES).map(name).collect();
    format!("{}\nSay yes.", names.join("\n"))
}

fn count_up() -> String {
    let from = uuid::Uuid::now_v7().as_u128() % 900 + 100;
    format!("Count from {from} to 999 in words, separated by commas, and write nothing else.")
}

/// The slowest of them, in thousandths of a token a second, without the time that an answer takes to begin.
fn slowest(all: &[Took], tokens: fn(&Took) -> u64, begin: Duration) -> Option<u64> {
    let rates = all.iter().map(|took| {
        let time = took
            .time
            .saturating_sub(begin)
            .max(Duration::from_micros(1));
        let rate = u128::from(tokens(took)) * 1_000_000_000 / time.as_micros();
        u64::try_from(rate).unwrap_or(u64::MAX)
    });
    rates.min().filter(|rate| *rate > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_contexts_are_read_as_each_server_tells_them() {
        let ollama = json!({"models": [{"name": "qwen3:8b", "model": "qwen3:8b", "size": 5_225_388_164_u64}]});
        let studio = json!({"models": [
            {"key": "gemma", "type": "llm", "size_bytes": 7, "max_context_length": 32_768,
             "loaded_instances": [{"id": "gemma", "config": {"context_length": 4_096}}]},
            {"key": "other", "type": "llm", "size_bytes": 9, "max_context_length": 8_192, "loaded_instances": []}]});
        let plain = json!({"data": [{"id": "gemma"}, {"id": "other"}]});
        // As llama.cpp's server writes it, with an empty size in the list that is like Ollama's.
        let llama = json!({"models": [{"name": "g", "model": "g", "size": ""}],
            "data": [{"id": "g", "meta": {"n_ctx": 2_048, "n_ctx_train": 32_768, "size": 246_587_904}}]});
        let told = |lists: &[Value], model: &str| {
            let Listed {
                size,
                context,
                loaded,
            } = of_lists(lists, model);
            (size, context, loaded)
        };
        let whole = (Some(5_225_388_164), None, false);
        assert_eq!(told(&[ollama], "qwen3:8b"), whole);
        let both = [studio, plain];
        assert_eq!(told(&both, "gemma"), (Some(7), Some(4_096), true));
        assert_eq!(told(&both, "other"), (Some(9), Some(8_192), false));
        assert_eq!(told(&both, "nobody"), (None, None, false));
        assert_eq!(told(&[llama], "g"), (Some(246_587_904), Some(2_048), true));
    }

    #[test]
    fn the_slowest_of_several_at_once_counts() {
        let took = |output, ms| Took {
            input: 0,
            output,
            time: Duration::from_millis(ms),
        };
        let all = [took(64, 2_100), took(64, 3_300)];
        let begin = Duration::from_millis(100);
        assert_eq!(slowest(&all, |t| t.output, begin), Some(20_000));
        assert_eq!(slowest(&all, |t| t.input, begin), None);
    }
}
