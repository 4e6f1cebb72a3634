//! Builds the fleet: the providers and models of the file, or those that were found, and the
//! simulated ones where they are wanted.

use super::{Needs, Reading, Source, channels, discover, price};
use crate::arm::{Effort, Tier};
use crate::capability::{Capabilities, Capability};
use crate::chat::ServiceTier;
use crate::effort::{self, Accepts};
use crate::fleet::ability::ability;
use crate::fleet::media::{self, Maxima};
use crate::fleet::senses::{self, Senses};
use crate::fleet::{Fleet, Model, embeds, is_remote_name};
use crate::price::{Catalogue, Price};
use crate::provider::channel::Channel;
use crate::provider::{self, Http2, Kind, Provider};
use crate::reader::{Complaint, Table, suggest};
use crate::takes::Takes;
use std::sync::Arc;

/// No published figure is further from the reference, in logits.
const ABILITY_MAX: f64 = 8.0;

/// What there is to route to.
pub(super) struct Stock {
    pub(super) fleet: Fleet,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) simulate: Option<(f64, u64)>,
    /// Providers were looked for, since none is written down.
    pub(super) found: bool,
    /// None is written down, and none was looked for.
    pub(super) unknown: bool,
}

/// A fleet in the making.
struct Building {
    fleet: Fleet,
    catalogue: Catalogue,
    /// The line of each provider.
    lines: Vec<usize>,
    /// Names of providers whose entry is wrong: their models are not blamed.
    wrong: Vec<String>,
    /// A model's entry names no known provider: the provider that it means is not blamed.
    stray: bool,
    own_prices: Vec<(String, String, Price)>,
}

/// Everything to route to. `loopback`: nobody else can reach the listeners.
pub(super) fn stock(reading: &Reading<'_>, top: &Table<'_>, loopback: bool) -> Stock {
    let mut building = Building {
        fleet: Fleet::default(),
        catalogue: catalogue(reading, top),
        lines: Vec::new(),
        wrong: Vec::new(),
        stray: false,
        own_prices: Vec::new(),
    };
    for table in top.tables("provider") {
        building.provider(reading, table);
    }
    for table in top.tables("model") {
        building.model(table);
    }
    building.starters(reading, top);
    let mut simulate = simulate(reading, top);
    // A first file that sets a cap and names no provider takes nothing away.
    let written = top.has("provider") || top.has("model");
    let found = !written && simulate.is_none();
    let unknown = found && matches!(reading.overrides.needs, Needs::Books | Needs::File);
    if found && !unknown {
        simulate = building.find(reading, loopback);
    }
    if simulate.is_some() {
        building.add_simulated();
    }
    if written && building.is_empty() {
        let help = "add a [[provider]], or try --simulate".to_owned();
        top.complain("provider", "there is no provider", Some(help));
    }
    for model in building.fleet.models.iter().filter(|m| m.price.is_none()) {
        reading.note(format!(
            "model \"{}\" has no known price, so keys with a cap cannot use it; set input_usd_per_mtok and output_usd_per_mtok",
            model.name
        ));
    }
    let own_prices = building.own_prices;
    Stock {
        fleet: building.fleet,
        catalogue: Arc::new(building.catalogue.with_own(own_prices)),
        simulate,
        found,
        unknown,
    }
}

/// The price catalogue of the file, or the one that ships with flyball.
fn catalogue(reading: &Reading<'_>, top: &Table<'_>) -> Catalogue {
    let embedded = || Catalogue::embedded().clone();
    let Some(path) = top.text("catalogue").map(|text| reading.path(text)) else {
        return embedded();
    };
    let Some(text) = reading.file(top, "catalogue", &path) else {
        return embedded();
    };
    Catalogue::read(&text).unwrap_or_else(|why| {
        reading.complain(Complaint::whole(path.display().to_string(), why));
        embedded()
    })
}

/// Speed and seed of the simulated models, where they are asked for.
fn simulate(reading: &Reading<'_>, top: &Table<'_>) -> Option<(f64, u64)> {
    let usual = (1.0, 1);
    let Some(table) = top.table("simulate") else {
        return reading.overrides.simulate.then_some(usual);
    };
    let speed = table.number("speed").unwrap_or(usual.0);
    if speed <= 0.0 {
        table.complain("speed", "speed must be above 0; 1 is lifelike", None);
    }
    let seed = table.count("seed").unwrap_or(usual.1);
    table.finish();
    Some((speed, seed))
}

impl Building {
    fn is_empty(&self) -> bool {
        self.fleet.providers.is_empty() && self.wrong.is_empty()
    }

    fn has_provider(&self, name: &str) -> bool {
        self.fleet.providers.iter().any(|p| p.name == name) || self.wrong.iter().any(|n| n == name)
    }

    fn provider(&mut self, reading: &Reading<'_>, mut table: Table<'_>) {
        let name = table.needed("name").map(str::to_owned);
        if let Some(name) = &name {
            table.call(format!("provider \"{name}\""));
            // It is a metric label and a piece of the path /p/{provider}/.
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            if !name.bytes().all(plain) {
                let help = Some("use letters, digits, '.', '_' and '-'".to_owned());
                table.complain("name", "unfit name", help);
            }
            if self.has_provider(name) || name == provider::simulated::KIND.name {
                table.complain("name", "the name is taken", None);
            }
        }
        let kind = kind(&table, name.as_deref());
        let channels = kind.and_then(|kind| channels::read(reading, &mut table, kind));
        let local = table.flag("local");
        let tiers = [
            ServiceTier::Standard,
            ServiceTier::Flex,
            ServiceTier::Priority,
        ];
        let effort_in_band = table.flag("effort_in_band");
        let http2 = table.choice("http2", "use of HTTP/2", &Http2::ALL);
        let service_tiers = table.has("service_tiers").then(|| {
            table.choices(
                "service_tiers",
                "service tier",
                &tiers.map(|t| (t.name(), t)),
            )
        });
        let line = table.line;
        table.finish();
        match (name, kind, channels) {
            (Some(name), Some(kind), Some(channels)) => {
                if channels.unencrypted {
                    reading.note(format!(
                        "provider \"{name}\": its key travels unencrypted, over http"
                    ));
                }
                if !channels.more.is_empty() {
                    let all = std::iter::once(&channels.home).chain(&channels.more);
                    let all: Vec<String> = all
                        .map(|c| format!("{} (weight {})", c.name, c.weight))
                        .collect();
                    reading.note(format!("provider \"{name}\": {}", all.join(", ")));
                }
                self.lines.push(line);
                self.fleet.providers.push(Arc::new(Provider {
                    more: channels.more,
                    balance: channels.balance,
                    headroom_min_percent: channels.headroom_min_percent,
                    local: local.unwrap_or(channels.loopback),
                    service_tiers,
                    effort_in_band,
                    http2,
                    ..Provider::new(name, kind, channels.home)
                }));
            }
            (name, ..) => self.wrong.extend(name),
        }
    }

    fn model(&mut self, mut table: Table<'_>) {
        let name = table.needed("name").map(str::to_owned);
        if let Some(name) = &name {
            table.call(format!("model \"{name}\""));
            if !name.bytes().all(|b| b.is_ascii_graphic()) {
                table.complain(
                    "name",
                    "a name cannot have spaces or other than ASCII",
                    None,
                );
            }
            if self.fleet.named(name).is_some() {
                table.complain("name", "the name is taken", None);
            }
        }
        let provider = self.provider_of(&table);
        let tier = table.choice("tier", "tier", &Tier::ALL.map(|t| (t.name(), t)));
        let efforts = table
            .has("efforts")
            .then(|| table.choices("efforts", "effort", &Effort::ALL.map(|e| (e.name(), e))));
        let context_tokens = table.count_from_1("context_tokens");
        let answer_tokens_max = table.count_from_1("answer_tokens_max");
        let own_media = own_media(&table);
        let own_senses = own_senses(&table);
        let own_ability = own_ability(&table);
        let only_embeds = table.flag("embeddings");
        let own_capabilities = own_capabilities(&table);
        let own_price = price::own(&table, provider.as_ref().map(|p| p.kind));
        self.stray |= provider.is_none() || name.is_none();
        if let Some((provider, name)) = provider.zip(name) {
            let model = self.build(&provider, name, own_price);
            let mut takes = model.takes;
            takes.lacks = corrected(takes.lacks, &own_capabilities);
            let model = Model {
                embeds: only_embeds.unwrap_or(model.embeds),
                logprobs: own_capabilities
                    .iter()
                    .find(|(what, _)| *what == Capability::Logprobs)
                    .map_or(model.logprobs, |(_, can)| *can),
                takes,
                ..model
            };
            let tier = tier.or_else(|| usual_tier(&table, &model));
            if tier == Some(Tier::Local) && !model.local {
                let help = "choose another tier, or set local = true in the provider if it is";
                let text = format!(
                    "it does not run on your machines but at \"{}\"",
                    provider.name
                );
                table.complain("tier", text, Some(help.to_owned()));
            }
            let tier = tier.unwrap_or(Tier::Standard);
            let known = ability(&model.name, tier);
            self.fleet.models.push(Arc::new(Model {
                tier,
                ability: own_ability.map_or(known, |logits| known.set_to(logits)),
                accepts: efforts.map_or(model.accepts.clone(), |e| listed(&model.accepts, e)),
                context_tokens: context_tokens.or(model.context_tokens),
                media: own_media.or(model.media),
                senses: own_senses.or(model.senses),
                answer_tokens_max: answer_tokens_max.or(model.answer_tokens_max),
                ..model
            }));
        }
        table.finish();
    }

    /// The provider that a model names, or the only one.
    fn provider_of(&self, table: &Table<'_>) -> Option<Arc<Provider>> {
        let providers = &self.fleet.providers;
        if let ([only], [], false) = (&**providers, &*self.wrong, table.has("provider")) {
            let _ = table.text("provider");
            return Some(Arc::clone(only));
        }
        let name = table.needed("provider")?;
        let found = providers.iter().find(|p| p.name == name);
        if !self.has_provider(name) {
            let names = providers.iter().map(|p| &p.name).chain(&self.wrong);
            let help = suggest(name, names.map(String::as_str));
            table.complain(
                "provider",
                format_args!("unknown provider \"{name}\""),
                help,
            );
        }
        found.cloned()
    }

    /// A model with everything that follows from its provider and name.
    fn build(&mut self, provider: &Arc<Provider>, name: String, own: Option<Price>) -> Model {
        let kind = provider.kind;
        let remote = is_remote_name(&name);
        let simulated = kind.name == provider::simulated::KIND.name;
        let known = self.catalogue.find(kind.name, &name).copied();
        let price = match own {
            Some(own) => Some(price::with_facts(own, known)),
            None if kind.free && !remote => Some(Price::free()),
            None => known,
        };
        if let (Some(_), Some(price)) = (own, price) {
            let row = (provider.name.clone(), name.clone(), price);
            self.own_prices.push(row);
        }
        let takes = Takes::of(kind.name, &name);
        Model {
            provider: Arc::clone(provider),
            tier: Tier::Standard,
            accepts: effort::accepts(kind.family, &name),
            price,
            context_tokens: price.and_then(|p| p.input_tokens_max),
            answer_tokens_max: price.and_then(|p| p.output_tokens_max),
            local: provider.local && !remote && !simulated,
            simulated,
            media: media::maxima(kind.name, &name),
            senses: senses::senses(kind.name, &name),
            ability: ability(&name, Tier::Standard),
            embeds: embeds(&name),
            logprobs: takes.logprobs,
            takes,
            name,
        }
    }

    /// Adds one model of a known tier, unless the name is taken.
    fn add(&mut self, provider: &Arc<Provider>, name: &str, tier: Tier) {
        if self.fleet.named(name).is_none() {
            let model = self.build(provider, name.to_owned(), None);
            self.fleet.models.push(Arc::new(Model {
                tier,
                ability: ability(name, tier),
                ..model
            }));
        }
    }

    /// A provider without a model of its own gets its kind's usual ones.
    fn starters(&mut self, reading: &Reading<'_>, top: &Table<'_>) {
        for (provider, line) in self
            .fleet
            .providers
            .clone()
            .into_iter()
            .zip(self.lines.clone())
        {
            let name = &provider.name;
            if self.stray || self.fleet.models.iter().any(|m| m.provider.name == *name) {
                continue;
            }
            let starters = provider.kind.starters;
            if starters.is_empty() {
                let text = format!("provider \"{name}\" has no model");
                let help = format!("add a [[model]] with provider = \"{name}\"");
                top.complain_at(line, text, Some(help));
            } else {
                reading.note(format!(
                    "provider \"{name}\" has no [[model]]: its usual models"
                ));
            }
            for (name, tier) in starters {
                self.add(&provider, name, *tier);
            }
        }
    }

    /// Without a file: what can be found. With nothing found, simulated models for one's own machine.
    fn find(&mut self, reading: &Reading<'_>, loopback: bool) -> Option<(f64, u64)> {
        let found = discover::discover(reading.around.env, reading.around.local_servers);
        for (provider, models) in found.providers {
            let provider = Arc::new(provider);
            for (name, tier) in &models {
                self.add(&provider, name, *tier);
            }
            self.fleet.providers.push(provider);
        }
        found.notes.into_iter().for_each(|note| reading.note(note));
        if !self.fleet.models.is_empty() {
            return None;
        }
        let looked_for = found.looked_for.join(", ");
        // Simulated models come uninvited only to a first try on one's own machine.
        let help = match reading.source {
            Source::NoConfig if loopback => None,
            Source::NoConfig => Some("set one of these, write a flyball.toml, or try --simulate"),
            Source::File(_) => Some("set one of these, add a [[provider]], or try --simulate"),
        };
        if let (Some(help), Needs::All) = (help, reading.overrides.needs) {
            let text = format!("no provider found; looked for {looked_for}");
            let file = match reading.source {
                Source::NoConfig => "flyball".to_owned(),
                Source::File(path) => path.display().to_string(),
            };
            reading.complain(Complaint::whole(file, text).help(help));
            return None;
        }
        reading.note(format!(
            "no provider found (looked for {looked_for}): simulated models"
        ));
        Some((1.0, 1))
    }

    /// The simulated models. Where they are served is known at start only.
    fn add_simulated(&mut self) {
        let kind = &provider::simulated::KIND;
        let provider = Arc::new(Provider::new(
            kind.name,
            kind,
            Channel::only("http://127.0.0.1:0", None),
        ));
        for (name, tier) in kind.starters {
            self.add(&provider, name, *tier);
        }
        self.fleet.providers.push(provider);
    }
}

fn kind(table: &Table<'_>, name: Option<&str>) -> Option<&'static Kind> {
    let real = provider::ALL
        .iter()
        .copied()
        .filter(|k| k.name != provider::simulated::KIND.name);
    let kinds: Vec<(&'static str, &'static Kind)> = real.map(|k| (k.name, k)).collect();
    if table.has("kind") {
        return table.choice("kind", "kind", &kinds);
    }
    let _ = table.text("kind");
    let same = kinds.iter().find(|(n, _)| Some(*n) == name);
    if same.is_none() {
        let help = suggest(name.unwrap_or_default(), kinds.iter().map(|(n, _)| *n));
        table.complain("kind", "kind is missing", help);
    }
    same.map(|(_, kind)| *kind)
}

/// The most tokens of what is no text, by the operator.
fn own_media(table: &Table<'_>) -> Maxima {
    Maxima {
        image: table.count_from_1("image_tokens_max"),
        audio: table.count_from_1("audio_tokens_max"),
        document: table.count_from_1("document_tokens_max"),
        ..Maxima::default()
    }
}

/// Which of pictures, sound and documents a model takes, by the operator.
fn own_senses(table: &Table<'_>) -> Senses {
    Senses {
        images: table.flag("images"),
        audio: table.flag("audio"),
        documents: table.flag("documents"),
    }
}

/// What a model can and cannot do, by the operator.
fn own_capabilities(table: &Table<'_>) -> Vec<(Capability, bool)> {
    let settings = [
        ("instructions", Capability::Instructions),
        ("tool_use", Capability::Tools),
        ("json_mode", Capability::Json),
        ("json_schema", Capability::Schema),
        ("choices", Capability::Choices),
        ("logprobs", Capability::Logprobs),
    ];
    let said = settings.map(|(setting, what)| Some((what, table.flag(setting)?)));
    said.into_iter().flatten().collect()
}

fn corrected(known: Capabilities, own: &[(Capability, bool)]) -> Capabilities {
    own.iter()
        .fold(known, |lacks, (what, can)| lacks.set(*what, !can))
}

/// How able a model is, by the operator: so many logits above the reference of `src/data/abilities.json`.
fn own_ability(table: &Table<'_>) -> Option<f64> {
    table.number("ability").filter(|logits| {
        let sane = (-ABILITY_MAX..=ABILITY_MAX).contains(logits);
        if !sane {
            let help = Some(format!(
                "write a number from -{ABILITY_MAX} to {ABILITY_MAX}; docs/routing.md has examples"
            ));
            table.complain(
                "ability",
                format_args!("ability {logits} is beyond all models"),
                help,
            );
        }
        sane
    })
}

/// The tier of a model whose entry names none.
fn usual_tier(table: &Table<'_>, model: &Model) -> Option<Tier> {
    if table.has("tier") {
        return None;
    }
    let starters = model.provider.kind.starters;
    let usual = starters.iter().find(|(name, _)| *name == model.name);
    let tier = usual
        .map(|(_, tier)| *tier)
        .or(model.local.then_some(Tier::Local))
        .or(model.embeds.then_some(Tier::Standard));
    if tier.is_none() {
        let names = Tier::ALL.map(Tier::name).join(", ");
        table.complain(
            "tier",
            "tier is missing",
            Some(format!("use one of: {names}")),
        );
    }
    tier
}

/// The efforts of the file over what is known of the model.
fn listed(known: &Accepts, efforts: Vec<Effort>) -> Accepts {
    let listed = Accepts::listed(efforts);
    match known.known && !listed.efforts.is_empty() {
        true => Accepts {
            efforts: listed.efforts,
            ..known.clone()
        },
        false => listed,
    }
}
