//! `flyball demo --days`: a month that was made up, as if flyball had served it: its books, its metrics' history, and a configuration to serve on.

use super::apps::APPS;
use super::booking::{Booking, Ground, MonthTotals, cost_of};
use super::calendar::Calendar;
use super::folder::Folder;
use super::openmetrics::History;
use super::pricing::Pricing;
use super::scenery::Scenery;
use super::traffic;
use super::world::{App, MODELS, RULES};
use crate::cli::shown::dollars;
use crate::config::draft::new_secret;
use crate::config::{self, Config, Overrides};
use crate::ledger::cap::Cap;
use crate::ledger::keyring::KeyAct;
use crate::ledger::store::{Key, Store};
use crate::ledger::window::Zone;
use crate::ledger::{books, now, tree};
use crate::money::PicoUsd;
use crate::process::settings_of;
use crate::telemetry::{KnownArm, KnownKey, KnownPrices, SimulatedModels, Telemetry};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::path::Path;

/// What the configuration says beside its caps.
const CONFIGURATION: &str = include_str!("../../data/demo_month.toml");
const QUARTER_MS: i64 = 900_000;
/// The last days have a scrape every quarter of an hour, those before every half: it is four fifths of what the history takes.
const CLOSE_MS: i64 = 2 * 86_400_000;
/// More requests in all are refused: they would take minutes and gigabytes, and show nothing more.
const REQUESTS_MAX: u64 = 3_000_000;

/// What is asked for.
pub(super) struct MonthAsked<'a> {
    pub(super) days: u32,
    pub(super) out: &'a Path,
    pub(super) seed: u64,
    pub(super) requests_a_day: u64,
    pub(super) until: Option<&'a str>,
    pub(super) keep: bool,
    pub(super) json: bool,
}

pub(super) fn run(asked: &MonthAsked<'_>) -> Result<(), String> {
    let until = match asked.until {
        None => now(),
        Some(text) => {
            let ms = Zone::utc().instant(text);
            ms.map_err(|why| format!("--until: {why}"))?
                .div_euclid(1_000)
        }
    };
    let many = u64::from(asked.days) * asked.requests_a_day;
    if many > REQUESTS_MAX {
        return Err(format!(
            "{} days of {} requests are {many} requests, and at most {REQUESTS_MAX} are made up; take fewer days or a smaller --requests-a-day",
            asked.days, asked.requests_a_day
        ));
    }
    if asked.keep && Folder::is_done(asked.out) {
        eprintln!("{} has a month already; it stays", asked.out.display());
        return Ok(());
    }
    let calendar = Calendar::new(
        asked.seed,
        asked.days,
        asked.requests_a_day,
        until.saturating_mul(1_000),
    );
    let folder = Folder::begin(asked.out)?;
    eprintln!(
        "making up {} days with about {} requests each, in {}",
        asked.days,
        asked.requests_a_day,
        asked.out.display()
    );
    match written(&calendar, asked.days, &folder) {
        Ok(summary) => {
            match asked.json {
                true => println!("{}", summary.json(asked, &calendar)),
                false => println!("{}", summary.text(asked)),
            }
            Ok(())
        }
        Err(why) => {
            folder.remove();
            Err(why)
        }
    }
}

/// What was written.
struct Summary {
    told: MonthTotals,
    series: u64,
    samples: u64,
    keys: Vec<String>,
}

fn written(calendar: &Calendar, days: u32, folder: &Folder) -> Result<Summary, String> {
    folder.write(Folder::CONFIG, CONFIGURATION)?;
    let pricing = Pricing::of(&loaded(folder)?)?;
    let costs = unlimited(calendar, &pricing);
    let limits = Limits::of(&costs, days);
    let text = CONFIGURATION.to_owned() + &limits.toml();
    folder.write(Folder::CONFIG, &text)?;
    let config = loaded(folder)?;
    let mut store = books::make(&settings_of(&config)).map_err(|e| e.detail)?;
    make_keys(calendar, &limits, store.as_mut(), folder)?;
    let keys = store.keys().map_err(|e| e.detail)?;
    let telemetry = Telemetry::new(&config.catalogue.version);
    let (caps, _) = tree::in_force(&config.caps, &keys);
    publish(&telemetry, &config, &keys, &caps);
    let names = keys.iter().map(|key| key.name.clone()).collect();
    let booking = Booking::open(Ground {
        telemetry: &telemetry,
        pricing: &pricing,
        history: History::new("flyball", &config.admin_listen.to_string()),
        store,
        keys,
        caps,
        teams: config.teams.clone(),
        zone: config.zone.clone(),
        catalogue: config.catalogue.version.clone(),
        sessions_max: config.sessions_max,
        seed: calendar.seed,
        from_ms: calendar.from_ms,
    })?;
    let booking = lived(calendar, booking)?;
    folder.history(&booking.history)?;
    let (series, samples) = booking.history.size();
    Ok(Summary {
        told: booking.told,
        series,
        samples,
        keys: names,
    })
}

fn loaded(folder: &Folder) -> Result<Config, String> {
    let overrides = Overrides {
        config: Some(folder.path(Folder::CONFIG)),
        data_dir: Some(folder.path(Folder::DATA)),
        ..Overrides::default()
    };
    config::load(&overrides).map_err(|all| crate::cli::joined(&all))
}

/// What each app would spend if nothing limited it, in the order of [`APPS`].
fn unlimited(calendar: &Calendar, pricing: &Pricing) -> Vec<PicoUsd> {
    let mut costs = vec![PicoUsd::ZERO; APPS.len()];
    for at in quarters(calendar) {
        for (app, cost) in APPS.iter().zip(&mut costs) {
            for ask in traffic::between(calendar, app, &(at..at + QUARTER_MS)) {
                *cost += cost_of(pricing, app, &ask);
            }
        }
    }
    costs
}

/// When each quarter of an hour begins.
fn quarters(calendar: &Calendar) -> impl Iterator<Item = i64> + use<> {
    let (from, until) = (calendar.from_ms, calendar.until_ms);
    (0..)
        .map(move |n: i64| from + n * QUARTER_MS)
        .take_while(move |at| *at < until)
}

/// Lets all of it happen, scraped as it goes.
fn lived<'p>(calendar: &Calendar, mut booking: Booking<'p>) -> Result<Booking<'p>, String> {
    let all = (calendar.until_ms - calendar.from_ms) / QUARTER_MS;
    let bar = ProgressBar::new(u64::try_from(all).unwrap_or(0));
    bar.set_style(
        ProgressStyle::with_template("{bar:30} {percent} % of the days  {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut scenery = Scenery::new(calendar);
    booking.scrape(calendar.from_ms, &scenery.process(calendar.from_ms, 0));
    for (number, at) in quarters(calendar).enumerate() {
        let ends = at + QUARTER_MS;
        for app in &APPS {
            for ask in traffic::between(calendar, app, &(at..ends)) {
                booking.expect(ask);
            }
        }
        scenery.around(booking.telemetry, at);
        let last = ends >= calendar.until_ms;
        match last {
            true => {
                booking.run(calendar.until_ms - 1)?;
                booking.end(calendar.until_ms)?;
            }
            false => booking.run(ends - 1)?,
        }
        let close = calendar.until_ms - ends < CLOSE_MS;
        if last || close || number % 2 == 1 {
            let more = scenery.process(ends, booking.told.requests);
            booking.scrape(ends, &more);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(booking)
}

/// The caps, so large that some of them are full now and then: one app's most working days, and nearly one team's for good.
struct Limits {
    everybody_day: PicoUsd,
    everybody_month: PicoUsd,
    research: PicoUsd,
    search_day: PicoUsd,
    reasoning_day: PicoUsd,
    chat_day: PicoUsd,
    notebooks_week: PicoUsd,
}

impl Limits {
    fn of(costs: &[PicoUsd], days: u32) -> Limits {
        let of = |wanted: &dyn Fn(&App) -> bool| {
            let both = APPS.iter().zip(costs);
            let some = both.filter(|(app, _)| wanted(app));
            some.map(|(_, cost)| *cost).sum::<PicoUsd>()
        };
        // So many percent of what a day costs on average, a cent at least.
        let daily = |cost: PicoUsd, percent: i128| {
            let share = cost.0 * percent / 100 / i128::from(days);
            whole_cents(PicoUsd(share))
        };
        let (all, key) = (of(&|_| true), |name: &'static str| {
            of(&|app| app.key == name)
        });
        Limits {
            everybody_day: daily(all, 360),
            everybody_month: daily(all, 30 * 125),
            research: whole_cents(PicoUsd(of(&|app| app.team == "research").0 * 1_000 / 965)),
            search_day: daily(key("search"), 96),
            reasoning_day: daily(all, 300),
            chat_day: daily(key("chat"), 135),
            notebooks_week: daily(key("notebooks"), 7 * 118),
        }
    }

    fn toml(&self) -> String {
        let cap = |name: &str, on: &str, usd: PicoUsd, window: &str| {
            format!(
                "\n[[cap]]\nname = \"{name}\"\n{on}usd = {}\nwindow = \"{window}\"\n",
                usd.usd_text()
            )
        };
        [
            cap("everybody, a day", "", self.everybody_day, "day"),
            cap("everybody, a month", "", self.everybody_month, "month"),
            cap(
                "research, its budget",
                "team = \"research\"\n",
                self.research,
                "total",
            ),
            cap(
                "the search, a day",
                "tag = { app = \"search\" }\n",
                self.search_day,
                "day",
            ),
            cap(
                "sim-reasoning, a day",
                "model = \"sim-reasoning\"\n",
                self.reasoning_day,
                "day",
            ),
        ]
        .concat()
    }

    /// The caps of a key's own, as `flyball key create --cap` takes them.
    fn of_key(&self, key: &str) -> Option<String> {
        match key {
            "chat" => Some(format!("{}usd/day", self.chat_day.usd_text())),
            "notebooks" => Some(format!("{}usd/week", self.notebooks_week.usd_text())),
            _ => None,
        }
    }
}

/// Rounded up to whole cents.
fn whole_cents(amount: PicoUsd) -> PicoUsd {
    const CENT: i128 = 10_000_000_000;
    PicoUsd((amount.0.max(1) + CENT - 1) / CENT * CENT)
}

/// Makes the keys, and writes their secrets for whoever wants to ask with them.
fn make_keys(
    calendar: &Calendar,
    limits: &Limits,
    store: &mut dyn Store,
    folder: &Folder,
) -> Result<(), String> {
    let mut secrets = String::new();
    for app in &APPS {
        let secret = new_secret()?;
        let caps = limits.of_key(app.key).into_iter();
        let caps: Result<Vec<Cap>, String> = caps.map(|text| Cap::parse(&text)).collect();
        let owned = |(tag, value): &(&str, &str)| ((*tag).to_owned(), (*value).to_owned());
        let key = Key {
            name: app.key.to_owned(),
            hash: crate::caller::hash(secret.as_bytes()),
            created: calendar.from_ms.div_euclid(1_000),
            team: app.team.to_owned(),
            caps: caps?,
            tags: app.tags.iter().map(owned).collect(),
            ..Key::default()
        };
        let act = KeyAct::Create(Box::new(key));
        let made = store.act("flyball demo", calendar.from_ms, &act);
        made.map_err(|e| format!("the books cannot be written: {}", e.detail))?;
        secrets += &format!("{} {secret}\n", app.key);
    }
    folder.write_secret(Folder::KEYS, &secrets)
}

/// Tells metrics the names that there are, as `serve` does at its start.
fn publish(telemetry: &Telemetry, config: &Config, keys: &[Key], caps: &[Cap]) {
    let models = MODELS.iter().map(|m| m.name.to_owned()).collect();
    let rules = RULES.map(str::to_owned).to_vec();
    let mut providers: Vec<String> = MODELS.iter().map(|m| m.provider.to_owned()).collect();
    providers.dedup();
    telemetry.known(models, rules, providers);
    telemetry.known_arms(MODELS.iter().flat_map(|model| {
        model.efforts.iter().map(|effort| KnownArm {
            provider: model.provider,
            model: model.name,
            tier: model.tier,
            effort: *effort,
        })
    }));
    let prices = KnownPrices {
        version: &config.catalogue.version,
        made_unix: config.catalogue.made_unix(),
    };
    telemetry.prices(prices, SimulatedModels::All);
    let known = keys.iter().map(|key| KnownKey {
        id: key.id,
        team: &key.team,
        name: &key.name,
    });
    telemetry.keys(&known.collect::<Vec<_>>());
    let of_caps = caps.iter().flat_map(|cap| cap.counter.scope.tags());
    let fixed = keys.iter().flat_map(|key| &key.tags);
    telemetry.tags(of_caps.chain(fixed.map(|(tag, value)| (&**tag, &**value))));
}

impl Summary {
    fn json(&self, asked: &MonthAsked<'_>, calendar: &Calendar) -> Value {
        let path = |name: &str| asked.out.join(name);
        let MonthTotals {
            requests,
            attempts,
            refused,
            cost,
            baseline,
        } = self.told;
        let time = |ms: i64| jiff::Timestamp::from_millisecond(ms).map(|t| t.to_string());
        json!({
            "days": asked.days, "seed": asked.seed, "from": time(calendar.from_ms).ok(), "until": time(calendar.until_ms).ok(),
            "requests": requests, "attempts": attempts, "refused_by_cap": refused, "cost_usd": cost.usd_text(),
            "baseline_usd": baseline.usd_text(), "saved_usd": (baseline - cost).usd_text(), "simulated": true,
            "config": path(Folder::CONFIG), "data_dir": path(Folder::DATA), "metrics": path(Folder::METRICS),
            "series": self.series, "samples": self.samples, "keys_file": path(Folder::KEYS), "keys": self.keys,
        })
    }

    fn text(&self, asked: &MonthAsked<'_>) -> String {
        let told = &self.told;
        let (out, days) = (asked.out.display(), asked.days);
        format!(
            "{} requests in {} attempts, {} refused by caps: {} spent, {} saved.\n\
             All of this is simulated: no model was called and no money was spent.\n\n\
             Look at it:\n  flyball report --config {out}/flyball.toml --days {days} --by team,model\n  \
             flyball serve --config {out}/flyball.toml     then http://127.0.0.1:8485, or `flyball top`\n  \
             flyball demo --against http://127.0.0.1:8484 --keys {out}/keys --forever     more traffic, of the same keys\n  \
             promtool tsdb create-blocks-from openmetrics {out}/metrics.om PROMETHEUS_DATA     {} series for the boards (docs/boards.md)",
            told.requests,
            told.attempts,
            told.refused,
            dollars(told.cost),
            dollars(told.baseline - told.cost),
            self.series,
        )
    }
}
