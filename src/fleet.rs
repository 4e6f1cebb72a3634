//! The models that may be used, each with its provider, tier, price and limits. Built once by
//! configuration; never changes and never asks a server anything.

pub mod ability;
pub mod media;
pub mod senses;

use crate::arm::{Effort, Tier};
use crate::dialect::embed::Shape;
use crate::effort::{self, Accepts};
use crate::price::{Catalogue, Price, without_date};
use crate::provider::Provider;
use crate::provider::channel::Channel;
use crate::takes::Takes;
use ability::Ability;
use media::Maxima;
use senses::Senses;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// One model at one provider.
#[derive(Clone, Debug)]
pub struct Model {
    /// The name that is sent upstream; unique in the fleet.
    pub name: String,
    /// Who serves it.
    pub provider: Arc<Provider>,
    /// Its class.
    pub tier: Tier,
    /// The efforts that it takes.
    pub accepts: Accepts,
    /// What it costs; `None` is unknown, which is never zero.
    pub price: Option<Price>,
    /// Tokens of prompt and answer together, where known.
    pub context_tokens: Option<u64>,
    /// The longest answer, in tokens, where known.
    pub answer_tokens_max: Option<u64>,
    /// It runs on the operator's own machines, so confidential requests may go to it.
    pub local: bool,
    /// It only pretends.
    pub simulated: bool,
    /// The most tokens of pictures, sound and documents.
    pub media: Maxima,
    /// Which of pictures, sound and documents it takes.
    pub senses: Senses,
    /// How able it is.
    pub ability: Ability,
    /// It makes embeddings and cannot answer: never routed to.
    pub embeds: bool,
    /// It tells how likely the tokens of an answer were, where it is asked to and does not think.
    pub logprobs: bool,
    /// What it takes of a request, and what it is known not to be able to do.
    pub takes: Takes,
}

impl Model {
    /// Whether this effort may be asked of it. Of a model that nobody knows, anything may.
    #[must_use]
    pub fn takes(&self, effort: Effort) -> bool {
        !self.accepts.known || self.accepts.efforts.contains(&effort)
    }
}

/// The kind of the models that only pretend.
const SIMULATED: &str = "simulated";

/// An arm: a model, and the effort asked of it.
#[derive(Clone, Debug)]
pub struct Arm {
    /// The model.
    pub model: Arc<Model>,
    /// How hard it is to think; `None` leaves the client's own words as they are.
    pub effort: Option<Effort>,
}

impl Arm {
    /// The effort for headers, metrics and the ledger; `fallback` is what the client's own words say.
    #[must_use]
    pub fn effort_or(&self, fallback: Option<Effort>) -> Effort {
        self.effort
            .or(fallback)
            .unwrap_or_else(|| default_effort(&self.model))
    }
}

/// `model@effort`, or the model alone.
impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.model.name)?;
        self.effort.map_or(Ok(()), |effort| write!(f, "@{effort}"))
    }
}

/// Why a real name leads to no model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// No provider is known to have it.
    Nobody,
    /// These providers all may, and none of them is the likelier one.
    Several(Vec<String>),
}

/// The end of a sentence that begins with the model's name.
impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unresolved::Nobody => f.write_str("is no model of a configured provider"),
            Unresolved::Several(names) => {
                let (first, names) = (&names[0], names.join("\" and \""));
                write!(
                    f,
                    "may be a model of the providers \"{names}\"; say which one is meant with a [[model]] that names it and its provider, or call it at /p/{first}/…"
                )
            }
        }
    }
}

/// All models, in the order of configuration.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// The models.
    pub models: Vec<Arc<Model>>,
    /// Their providers.
    pub providers: Vec<Arc<Provider>>,
}

impl Fleet {
    /// The model of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Model>> {
        self.models.iter().find(|m| m.name == name)
    }

    /// How able each model is taken to be, by its name.
    #[must_use]
    pub fn abilities(&self) -> BTreeMap<String, Ability> {
        let of = |model: &Arc<Model>| (model.name.clone(), model.ability);
        self.models.iter().map(of).collect()
    }

    /// The models of a tier that can answer, in the order of configuration.
    pub fn in_tier(&self, tier: Tier) -> impl Iterator<Item = &Arc<Model>> {
        let of_tier = move |m: &&Arc<Model>| m.tier == tier && !m.embeds;
        self.models.iter().filter(of_tier)
    }

    /// The arm that is written `model@effort` or `model`. `None` if there is no such model or it
    /// does not take that effort.
    #[must_use]
    pub fn arm(&self, text: &str) -> Option<Arm> {
        let (name, effort) = match self.named(text) {
            Some(_) => (text, None),
            None => split_arm(text),
        };
        let model = Arc::clone(self.named(name)?);
        let takes = effort.is_none_or(|e| model.takes(e));
        takes.then_some(Arm { model, effort })
    }

    /// The model of a real name: one of the fleet, or any that a configured provider is known to have.
    /// One provider for the dialect without listed models takes every name.
    ///
    /// # Errors
    /// No provider has it, or several may.
    pub fn resolve(
        &self,
        name: &str,
        dialect: &str,
        catalogue: &Catalogue,
    ) -> Result<Arc<Model>, Unresolved> {
        if let Some(model) = self.named(name) {
            return Ok(Arc::clone(model));
        }
        let real = self.providers.iter().filter(|p| p.kind.name != SIMULATED);
        let (native, others): (Vec<_>, Vec<_>) = real.partition(|p| p.speaks(dialect));
        self.had(name, [&native, &others], catalogue)
    }

    /// The model of a real name that makes embeddings: one of the fleet, or any that a provider which serves them is known to have,
    /// those first that answer in this shape.
    ///
    /// # Errors
    /// As [`Fleet::resolve`].
    pub fn embedder(
        &self,
        name: &str,
        shape: Shape,
        catalogue: &Catalogue,
    ) -> Result<Arc<Model>, Unresolved> {
        // Ollama's clients may leave the usual tag out.
        let tagged = format!("{name}:latest");
        if let Some(model) = self.named(name).or_else(|| self.named(&tagged)) {
            return Ok(Arc::clone(model));
        }
        let serve = self
            .providers
            .iter()
            .filter(|p| p.embeds().next().is_some());
        let (native, others): (Vec<_>, Vec<_>) =
            serve.partition(|p| p.embeds().any(|s| s == shape));
        self.had(name, [&native, &others], catalogue)
    }

    /// A model that is not listed, at the first of these groups of providers that has it: who is spoken to without translation goes
    /// before who is reached by one.
    fn had(
        &self,
        name: &str,
        groups: [&[&Arc<Provider>]; 2],
        catalogue: &Catalogue,
    ) -> Result<Arc<Model>, Unresolved> {
        for group in groups {
            if let Some(provider) = self.having(name, group, catalogue)? {
                return Ok(self.at(provider, name, catalogue));
            }
        }
        Err(Unresolved::Nobody)
    }

    /// The model of this name at this provider, whether it is known or not.
    #[must_use]
    pub fn at(&self, provider: &Arc<Provider>, name: &str, catalogue: &Catalogue) -> Arc<Model> {
        let listed = self.models.iter();
        let mut listed = listed.filter(|m| m.name == name && m.provider.name == provider.name);
        if let Some(model) = listed.next() {
            return Arc::clone(model);
        }
        let free = || is_free(provider, name).then(Price::free);
        let price = catalogue.find(provider.kind.name, name).copied();
        Arc::new(unlisted(name, provider, price.or_else(free)))
    }

    /// Which of these providers has a model of this name: one whose vendor has it; for a dated name one that has the undated one, which may
    /// cost something else; one without listed models, which takes every name.
    ///
    /// # Errors
    /// Several do, and none of them lists a model of its family. Which account pays is not to be guessed.
    fn having<'p>(
        &self,
        name: &str,
        providers: &[&'p Arc<Provider>],
        catalogue: &Catalogue,
    ) -> Result<Option<&'p Arc<Provider>>, Unresolved> {
        let whose = |has: &dyn Fn(&Provider) -> bool| -> Vec<&'p Arc<Provider>> {
            providers.iter().copied().filter(|p| has(p)).collect()
        };
        let lists = |p: &Provider, like: &dyn Fn(&str) -> bool| {
            let mut models = self.models.iter();
            models.any(|m| m.provider.name == p.name && like(&m.name))
        };
        let undated = without_date(name);
        let mut found = whose(&|p| catalogue.find(p.kind.name, name).is_some());
        if let (true, Some(undated)) = (found.is_empty(), undated) {
            found = whose(&|p| lists(p, &|model| model == undated));
            if found.is_empty() {
                found = whose(&|p| catalogue.find(p.kind.name, undated).is_some());
            }
        }
        let family = |model: &str| family(model) == family(name);
        match (&*found, providers) {
            ([], [only]) if !lists(only, &|_| true) => Ok(Some(only)),
            ([], _) => Ok(None),
            ([only], _) => Ok(Some(only)),
            (several, _) => {
                let near = |like: &dyn Fn(&str) -> bool| {
                    let mut near = several.iter().filter(|p| lists(p, like));
                    near.next().filter(|_| near.next().is_none())
                };
                let likeliest = near(&|model| Some(model) == undated).or_else(|| near(&family));
                match likeliest {
                    Some(provider) => Ok(Some(provider)),
                    None => {
                        let names = several.iter().map(|p| p.name.clone());
                        Err(Unresolved::Several(names.collect()))
                    }
                }
            }
        }
    }

    /// The same fleet with the simulated models served at this address.
    #[must_use]
    pub fn with_simulated_at(&self, address: SocketAddr) -> Fleet {
        let providers: Vec<Arc<Provider>> = self
            .providers
            .iter()
            .map(
                |p| match p.kind.name == crate::provider::simulated::KIND.name {
                    true => Arc::new(Provider {
                        home: Channel::only(format!("http://{address}"), None),
                        ..Provider::clone(p)
                    }),
                    false => Arc::clone(p),
                },
            )
            .collect();
        let moved = |m: &Arc<Model>| match providers.iter().find(|p| p.name == m.provider.name) {
            Some(p) if m.simulated => Arc::new(Model {
                provider: Arc::clone(p),
                ..Model::clone(m)
            }),
            _ => Arc::clone(m),
        };
        Fleet {
            models: self.models.iter().map(moved).collect(),
            providers,
        }
    }
}

/// The effort of a model that is told nothing: medium where it thinks by itself, else none.
#[must_use]
pub fn default_effort(model: &Model) -> Effort {
    match model.accepts.on_by_default {
        true => effort::clamp(&model.accepts, Effort::Medium),
        false => Effort::None,
    }
}

/// An arm's model and effort. A suffix that is no effort belongs to the model's name (`gemma@q4`).
#[must_use]
pub fn split_arm(text: &str) -> (&str, Option<Effort>) {
    match text.rsplit_once('@').map(|(m, e)| (m, Effort::parse(e))) {
        Some((model, Some(effort))) => (model, Some(effort)),
        _ => (text, None),
    }
}

/// What a vendor's models have in common in their names: `gpt` of `gpt-5-mini`, `claude` of `claude-haiku-4-5`.
fn family(name: &str) -> &str {
    let end = |c: char| !c.is_ascii_alphabetic();
    name.split(end)
        .find(|word| !word.is_empty())
        .unwrap_or(name)
}

/// It runs on the operator's own machines.
fn is_free(provider: &Provider, name: &str) -> bool {
    provider.kind.free && !is_remote_name(name)
}

/// A model that no configuration lists.
fn unlisted(name: &str, provider: &Arc<Provider>, price: Option<Price>) -> Model {
    let simulated = provider.kind.name == SIMULATED;
    let local = provider.local && !is_remote_name(name) && !simulated;
    let tier = if local { Tier::Local } else { Tier::Standard };
    let takes = Takes::of(provider.kind.name, name);
    Model {
        name: name.to_owned(),
        provider: Arc::clone(provider),
        tier,
        accepts: effort::accepts(provider.kind.family, name),
        price,
        context_tokens: price.and_then(|p| p.input_tokens_max),
        answer_tokens_max: price.and_then(|p| p.output_tokens_max),
        local,
        simulated,
        media: media::maxima(provider.kind.name, name),
        senses: senses::senses(provider.kind.name, name),
        ability: ability::ability(name, tier),
        embeds: embeds(name),
        logprobs: takes.logprobs,
        takes,
    }
}

/// Whether a model of this name most likely makes embeddings only; configuration may say otherwise.
#[must_use]
pub fn embeds(name: &str) -> bool {
    name.to_ascii_lowercase().contains("embed")
}

/// Whether a model of this name runs in somebody's cloud although a local server lists it
/// (Ollama's `gpt-oss:120b-cloud`, `glm-5:cloud`; <https://docs.ollama.com/cloud>).
#[must_use]
pub fn is_remote_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with("-cloud") || name.ends_with(":cloud")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider;

    fn model(name: &str, tier: Tier, provider: &Arc<Provider>) -> Arc<Model> {
        Arc::new(Model {
            name: name.to_owned(),
            provider: Arc::clone(provider),
            tier,
            accepts: Accepts::listed(vec![Effort::Low, Effort::High]),
            price: None,
            context_tokens: None,
            answer_tokens_max: None,
            local: false,
            simulated: provider.kind.name == "simulated",
            media: Maxima::default(),
            senses: Senses::default(),
            ability: Ability::default(),
            embeds: embeds(name),
            logprobs: false,
            takes: Takes::default(),
        })
    }

    fn provider(kind: &str) -> Arc<Provider> {
        Arc::new(Provider::new(
            kind,
            provider::kind(kind).expect("a kind of this name"),
            Channel::only("http://127.0.0.1:0", None),
        ))
    }

    fn fleet() -> Fleet {
        let (real, sim) = (provider("openai"), provider("simulated"));
        Fleet {
            models: vec![
                model("terra", Tier::Standard, &real),
                model("odd@low", Tier::Small, &real),
                model("sim-small", Tier::Small, &sim),
            ],
            providers: vec![real, sim],
        }
    }

    #[test]
    fn an_arm_is_a_model_with_or_without_an_effort_that_it_takes() {
        let fleet = fleet();
        for (text, found) in [
            ("terra", Some(("terra", None))),
            ("terra@low", Some(("terra", Some(Effort::Low)))),
            ("terra@max", None),
            ("terra@hot", None),
            ("tera@low", None),
            ("odd@low", Some(("odd@low", None))),
            ("odd@low@high", Some(("odd@low", Some(Effort::High)))),
        ] {
            let arm = fleet.arm(text);
            let arm = arm.as_ref().map(|a| (a.model.name.as_str(), a.effort));
            assert_eq!(arm, found, "{text}");
        }
    }

    #[test]
    fn only_simulated_models_move_to_the_simulated_server() {
        let address = SocketAddr::from(([127, 0, 0, 1], 4000));
        let moved = fleet().with_simulated_at(address);
        for (name, url) in [
            ("terra", "http://127.0.0.1:0"),
            ("sim-small", "http://127.0.0.1:4000"),
        ] {
            let model = moved.named(name).expect("a model of this name");
            assert_eq!(model.provider.home.base_url, url);
        }
        assert_eq!(moved.providers[1].home.base_url, "http://127.0.0.1:4000");
    }

    #[test]
    fn a_tier_keeps_the_order_of_configuration() {
        let fleet = fleet();
        let small: Vec<&str> = fleet
            .in_tier(Tier::Small)
            .map(|m| m.name.as_str())
            .collect();
        assert_eq!(small, ["odd@low", "sim-small"]);
    }

    #[test]
    fn a_cloud_model_asked_by_name_at_a_local_server_is_neither_free_nor_local() {
        let ollama = Provider {
            local: true,
            ..Provider::clone(&provider("ollama"))
        };
        let fleet = Fleet {
            models: Vec::new(),
            providers: vec![Arc::new(ollama)],
        };
        let catalogue = Catalogue::embedded();
        for (name, local) in [("qwen3:8b", true), ("glm-5:cloud", false)] {
            let model = fleet.resolve(name, "openai_chat", catalogue);
            let model = model.expect("the only provider has every name");
            assert_eq!(model.local, local, "{name}");
            assert_eq!(model.tier == Tier::Local, local, "{name}");
            assert_eq!(model.price.is_some(), local, "{name}");
        }
    }

    #[test]
    fn a_dated_name_that_nobody_lists_has_no_price_of_another_model() {
        let fleet = Fleet {
            models: vec![model("gpt-5.4", Tier::Standard, &provider("openai"))],
            providers: vec![provider("openai")],
        };
        let catalogue = Catalogue::embedded();
        for (name, priced) in [
            ("gpt-4o-2024-05-13", Some(true)),
            ("gpt-5.4-2031-01-31", Some(false)),
            ("gpt-5.4-20310131", Some(false)),
            ("gpt-4o-2031-01-31", Some(false)),
            ("gpt-5.4-latest", None),
        ] {
            let found = fleet.resolve(name, "openai_chat", catalogue);
            let found = found.ok().map(|model| model.price.is_some());
            assert_eq!(found, priced, "{name}");
        }
    }

    #[test]
    fn of_two_providers_of_one_kind_the_one_that_lists_the_family_is_meant() {
        let named = |name: &str| {
            Arc::new(Provider {
                name: name.to_owned(),
                ..Provider::clone(&provider("openai"))
            })
        };
        let (a, b) = (named("a"), named("b"));
        let listing = |of_a: &str, of_b: &str| Fleet {
            models: vec![
                model(of_a, Tier::Standard, &a),
                model(of_b, Tier::Standard, &b),
            ],
            providers: vec![a.clone(), b.clone()],
        };
        let both = Unresolved::Several(vec!["a".into(), "b".into()]);
        let none = Unresolved::Nobody;
        for (of_a, of_b, name, meant) in [
            ("other", "gpt-5.4", "gpt-5.4-2031-01-31", Ok("b")),
            ("other", "kit", "kit-2031-01-31", Ok("b")),
            ("other", "gpt-5.4", "gpt-4o", Ok("b")),
            ("gpt-5.1", "gpt-5.4", "gpt-5.4-2031-01-31", Ok("b")),
            ("gpt-5.1", "gpt-5.4", "gpt-4o", Err(&both)),
            ("x", "y", "gpt-4o-2031-01-31", Err(&both)),
            ("x", "y", "nobody", Err(&none)),
        ] {
            let found = listing(of_a, of_b).resolve(name, "openai_chat", Catalogue::embedded());
            let found = found.as_ref().map(|model| model.provider.name.as_str());
            assert_eq!(found, meant, "{of_a} {of_b} {name}");
        }
    }

    #[test]
    fn ollamas_cloud_models_are_known_by_their_names() {
        for (name, remote) in [
            ("gpt-oss:120b-cloud", true),
            ("glm-5:cloud", true),
            ("GLM-5:Cloud", true),
            ("qwen3:8b", false),
            ("cloudy:8b", false),
        ] {
            assert_eq!(is_remote_name(name), remote, "{name}");
        }
    }
}
