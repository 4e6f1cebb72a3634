//! `flyball local`: which local models there are, whether they fit into this machine's memory, and how fast they answer.

mod asking;
pub(super) mod bill;
mod machine;
mod speeds;

use super::shown::table;
use super::{Common, reading, runtime};
use crate::config::{Config, Needs};
use crate::fleet::Model;
use asking::{Listed, Measured};
use clap::Args;
use machine::{Fits, Memory};
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Args, Clone, Debug)]
pub(super) struct LocalArgs {
    /// Ask each model a few questions and keep how fast it answers, for `flyball report --local`
    #[arg(long)]
    measure: bool,
    /// Only this model; may stand several times
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,
    /// How many requests are under way at once while it is measured
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), requires = "measure")]
    at_once: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// A local model, with what is known of it.
struct Installed {
    model: Arc<Model>,
    listed: Listed,
    speed: Option<Measured>,
}

pub(super) fn run(common: &Common, args: &LocalArgs) -> Result<(), String> {
    let config = reading(common, Needs::Models)?;
    let models = chosen(&config, &args.model)?;
    let memory = Memory::of_this_machine();
    let mut kept = speeds::read(&config.data_dir)?;
    let installed = runtime()?.block_on(async {
        let listed = asking::listed(&models).await;
        if args.measure {
            let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
            let told = asking::measure(common, &names, args.at_once, &listed).await?;
            for measured in told {
                speeds::put(&mut kept, measured);
            }
            speeds::write(&config.data_dir, &kept)?;
        }
        let installed = models.into_iter().zip(listed).map(|(model, listed)| {
            let speed = kept.iter().find(|speed| speed.model == model.name);
            Installed {
                speed: speed.cloned(),
                model,
                listed,
            }
        });
        Ok::<_, String>(installed.collect::<Vec<_>>())
    })?;
    if args.json {
        println!("{}", as_json(&installed, &memory));
    } else {
        print!("{}", as_text(&installed, &memory));
    }
    Ok(())
}

/// The local models that are asked about.
fn chosen(config: &Config, names: &[String]) -> Result<Vec<Arc<Model>>, String> {
    let all = config.fleet.models.iter();
    let all = all.filter(|model| model.local && !model.simulated && !model.embeds);
    let all: Vec<Arc<Model>> = all.cloned().collect();
    if all.is_empty() {
        return Err(
            "there is no local model: start Ollama, LM Studio or llama.cpp's server on its usual port, or name one in flyball.toml as a provider with local = true"
                .into(),
        );
    }
    if names.is_empty() {
        return Ok(all);
    }
    let named = names.iter().map(|name| {
        let found = all.iter().find(|model| model.name == *name).cloned();
        found.ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(|model| model.name.as_str()).collect();
            format!(
                "--model: there is no local model \"{name}\"; there is: {}",
                known.join(", ")
            )
        })
    });
    named.collect()
}

fn as_json(installed: &[Installed], memory: &Memory) -> Value {
    let models = installed.iter().map(|one| {
        json!({
            "model": one.model.name,
            "provider": one.model.provider.name,
            "size_bytes": one.listed.size,
            "needs_bytes": one.listed.size.map(machine::needs),
            "fits": memory.fits(&one.listed).name(),
            "context_tokens": one.listed.context,
            "speed": one.speed,
        })
    });
    json!({"memory": memory.json(), "models": models.collect::<Vec<_>>()})
}

fn as_text(installed: &[Installed], memory: &Memory) -> String {
    let mut table = table(&[
        "model", "provider", "size", "needs", "fits", "context", "reads", "writes", "at once",
    ]);
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
    for one in installed {
        let speed = one.speed.as_ref();
        let rate = |milli: Option<u64>| milli.map_or_else(|| "-".to_owned(), speeds::rate);
        table.add_row([
            one.model.name.clone(),
            one.model.provider.name.clone(),
            one.listed.size.map_or_else(|| "-".into(), machine::gib),
            one.listed
                .size
                .map_or_else(|| "-".into(), |size| machine::gib(machine::needs(size))),
            memory.fits(&one.listed).name().to_owned(),
            number(one.listed.context),
            rate(speed.map(|s| s.prefill_milli)),
            rate(speed.map(|s| s.decode_milli)),
            number(speed.map(|s| u64::from(s.at_once))),
        ]);
    }
    let mut text = format!("{memory}\n{table}\n");
    let unknown = |one: &Installed| memory.fits(&one.listed) == Fits::Unknown;
    if installed.iter().any(unknown) {
        text.push_str("Whether a model fits is unknown where its server does not tell its size, or this machine its memory.\n");
    }
    text.push_str("A model needs its size, a fifth more for the conversations it holds, and half a GiB; long contexts need more.\n");
    if installed.iter().any(|one| one.speed.is_none()) {
        text.push_str(
            "flyball local --measure tells how many tokens a second they read and write.\n",
        );
    } else {
        text.push_str("Tokens a second that each of so many requests at once reads and writes. flyball report --local MODEL tells what your traffic would cost on it.\n");
    }
    text
}
