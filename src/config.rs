//! Configuration: reads `flyball.toml`, rules, prices and secrets, and builds every module's
//! settings from them, so that nothing else can be wrong later. All mistakes are told at once.
//! Nobody but the process (command line, server) imports this.

mod background;
mod batch;
mod caps;
mod channels;
pub mod discover;
pub mod draft;
mod end_users;
mod guard;
mod hedge;
pub mod keys;
pub mod learn;
pub mod names;
mod otlp;
pub mod picture;
mod places;
mod price;
mod privacy;
mod response_cache;
mod secret;
mod shadow;
mod tls;
mod vendors;
pub mod watch;
mod webhook;

pub use crate::reader::Complaint;
pub use caps::read_cap;

use crate::classify::overlay::Overlay;

use crate::arm::Objective;
use crate::batch::Settings as BatchSettings;
use crate::caller::EndUsers;
use crate::classify::runaway::Guard;
use crate::exchange::background::Settings as BackgroundSettings;
use crate::fleet::{Arm, Fleet};
use crate::ledger::store::Key;
use crate::ledger::tree::Shared;
use crate::ledger::window::Zone;
use crate::limits::Limits;
use crate::pattern::like;
use crate::price::Catalogue;
use crate::private::Privacy;
use crate::provider::Kind;
use crate::reader::{Page, Table, suggest};
use crate::response_cache::Settings as CacheSettings;
use crate::route::policy::{self, Rule};
use crate::route::{
    AfterFailure, CapWebhook, Hedging, Learning, Probing, Recovery, Shadowing, Webhook,
};
use crate::server::address::Address;
use crate::server::listener::Terms;
use crate::server::proxied::Trusted;
use crate::telemetry::otlp::Settings as Export;
use crate::tls::server::Identity;
use names::KnownNames;
use secrecy::SecretString;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The file that is read when no other is named.
pub const FILE: &str = "flyball.toml";

/// What the command line and the `FLYBALL_…` variables say; each wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The configuration file; without it, `flyball.toml` in the current folder if it is there.
    pub config: Option<PathBuf>,
    /// The traffic listener's address.
    pub listen: Option<String>,
    /// The admin listener's address.
    pub admin_listen: Option<String>,
    /// The data folder.
    pub data_dir: Option<PathBuf>,
    /// Patterns of model names to intercept; empty leaves it to the file.
    pub intercept: Vec<String>,
    /// Add the simulated models; with no file, use nothing else.
    pub simulate: bool,
    /// What it is read for.
    pub needs: Needs,
}

/// What a configuration is read for, and so which secrets have to be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Needs {
    /// To serve: every secret.
    #[default]
    All,
    /// To read the books: the ledger's address alone. No provider is looked for.
    Books,
    /// To look at models, rules or prices: no secret. Providers are looked for.
    Models,
    /// To look at what the file says: no secret, and no provider is looked for.
    File,
}

/// Where the configuration came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// There is no file: providers were looked for.
    NoConfig,
    /// This file.
    File(PathBuf),
}

/// Everything that configuration decides. Secrets in it do not show in `Debug`.
#[derive(Clone, Debug)]
pub struct Config {
    /// The traffic listener.
    pub listen: Address,
    /// The admin listener.
    pub admin_listen: Address,
    /// How their sockets are made.
    pub sockets: Terms,
    /// The load balancers that say whose connections they pass on, where there are any.
    pub proxied: Option<Arc<Trusted>>,
    /// Where the ledger lives.
    pub data_dir: PathBuf,
    /// Allows admin writes, and any use of the admin listener from elsewhere.
    pub admin_token: Option<SecretString>,
    /// The log is JSON, not text.
    pub log_json: bool,
    /// The models.
    pub fleet: Fleet,
    /// The rules, in order; the last holds for everything.
    pub rules: Vec<Rule>,
    /// The objective of a request that names none.
    pub objective: Objective,
    /// Patterns (see [`crate::pattern::like`]) of model names that are routed although they were asked for by name.
    pub intercept: Vec<String>,
    /// What `auto` is compared with; `None` is the dearest arm that the key may use.
    pub baseline: Option<Arm>,
    /// Other names of arms, which apps may ask for like a model.
    pub aliases: BTreeMap<String, Arm>,
    /// The token limit of an answer on a capped key where the client sets none.
    pub answer_tokens_max: u64,
    /// Below so many tokens a request is refused rather than limited.
    pub answer_tokens_min: u64,
    /// A request whose bound does not fit a cap gets a lower token limit instead of a refusal.
    pub lower_limits: bool,
    /// Requests for a model by its own name are graded too.
    pub grade_asked: bool,
    /// Patterns (see [`crate::pattern::like`]) of the fields that a translation into another dialect may let go.
    pub may_drop: Vec<String>,
    /// When a cheaper arm is asked first, and how long its stream is held back.
    pub probing: Probing,
    /// Whether it learns from outcomes.
    pub learning: Option<Arc<Learning>>,
    /// Which requests another arm is asked as well, where any.
    pub shadowing: Option<Arc<Shadowing>>,
    /// What happens where a provider fails.
    pub recovery: Recovery,
    /// When a request is sent twice, where any is.
    pub hedging: Option<Arc<Hedging>>,
    /// What `flyball fit` learned from the operator's own outcomes.
    pub overlay: Option<Arc<Overlay>>,
    /// What makes a request confidential by what is in it, where anything does.
    pub privacy: Option<Arc<Privacy>>,
    /// How equal requests share answers, where they may.
    pub response_cache: Option<CacheSettings>,
    /// How answers are kept that are made in the background.
    pub background: BackgroundSettings,
    /// How batches are kept.
    pub batch: BatchSettings,
    /// The caps.
    pub caps: Shared,
    /// The virtual keys that stand here, by the hash of their secret; they have no row of the ledger yet.
    pub keys: Vec<Key>,
    /// The teams, each with its organisation (or nothing).
    pub teams: BTreeMap<String, String>,
    /// When a conversation is stopped that runs away.
    pub guard: Guard,
    /// How the end users of apps are told apart.
    pub end_users: EndUsers,
    /// How long a request waits that only open reservations keep from its cap's room.
    pub cap_wait: Duration,
    /// How flyball exports to an OpenTelemetry collector, where it does.
    pub otlp: Option<Export>,
    /// What clients are shown; they speak plain HTTP where it is nothing.
    pub tls: Option<Identity>,
    /// The file of its certificate.
    pub tls_certificate: Option<PathBuf>,
    /// Those of the admin listener are shown it too.
    pub tls_admin: bool,
    /// Where the operator is told of caps that fill up.
    pub cap_webhook: Option<Arc<CapWebhook>>,
    /// Who is told of requests that were to be answered later.
    pub webhooks: Arc<Vec<Webhook>>,
    /// Thousandths of a cap that are leased at a time, so that a reservation waits for no disk; 0 leases nothing.
    pub lease_permille: u32,
    /// Sessions that a key may have in one window of a cap on sessions.
    pub sessions_max: u32,
    /// The address of the shared ledger, where several replicas have one.
    pub shared_ledger: Option<SecretString>,
    /// A replica from which the shared ledger hears nothing for so long is taken for dead.
    pub replica_timeout: Duration,
    /// How long attempts are kept; for ever where nothing is said.
    pub ledger_keep: Option<Duration>,
    /// The simulated models' speed (1 is lifelike) and seed, where they are in use.
    pub simulate: Option<(f64, u64)>,
    /// How much, how many, how long.
    pub limits: Limits,
    /// The prices, the file's own included.
    pub catalogue: Arc<Catalogue>,
    /// Files and folders whose change asks for a reload.
    pub sources: Vec<PathBuf>,
    /// Where all this came from.
    pub source: Source,
    /// What the operator should know at start: where providers came from, models without a price.
    pub providers_note: Vec<String>,
    /// What is no mistake and most likely not meant: a pattern that matches no model.
    pub warnings: Vec<String>,
    /// Providers were looked for, since the file names none.
    pub found: bool,
    /// The keys that caps and rules name.
    pub keys_named: Vec<names::NamedKey>,
    /// The tags by which caps count.
    pub tags_named: Vec<names::NamedTag>,
    /// The time zone of windows that name none.
    pub zone: Zone,
    /// Where the rules in force come from: their files, or nothing for the starter rules.
    pub rule_files: Vec<String>,
}

impl Config {
    /// The same configuration with the simulated models served at this address.
    #[must_use]
    pub fn with_simulated_at(mut self, address: SocketAddr) -> Config {
        self.fleet = self.fleet.with_simulated_at(address);
        let moved = |arm: Arm| match self.fleet.named(&arm.model.name) {
            Some(model) => Arm {
                model: Arc::clone(model),
                ..arm
            },
            None => arm,
        };
        self.baseline = self.baseline.map(moved);
        let aliases = std::mem::take(&mut self.aliases);
        self.aliases = aliases
            .into_iter()
            .map(|(name, arm)| (name, moved(arm)))
            .collect();
        self
    }
}

/// What surrounds the process. Tests bring their own.
pub struct Surroundings<'a> {
    /// An environment variable's value.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Where local servers may be.
    pub local_servers: &'a [(&'static Kind, String)],
    /// The folder in which a file without a name is looked for.
    pub folder: &'a Path,
}

/// Reads the configuration, or looks for providers where there is none (at most 150 ms).
///
/// # Errors
/// Every mistake, each with file, line and advice.
pub fn load(overrides: &Overrides) -> Result<Config, Vec<Complaint>> {
    load_in(
        overrides,
        &Surroundings {
            env: &|name| std::env::var(name).ok(),
            local_servers: &discover::usual_places(),
            folder: Path::new(""),
        },
    )
}

/// [`load`] in given surroundings.
///
/// # Errors
/// As [`load`].
pub fn load_in(overrides: &Overrides, around: &Surroundings<'_>) -> Result<Config, Vec<Complaint>> {
    let path = match &overrides.config {
        Some(path) => path.clone(),
        None => {
            let usual = around.folder.join(FILE);
            // Anything but "not there" (say, no permission) is told when it is read.
            let absent =
                std::fs::metadata(&usual).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
            if absent {
                return build("", "", Source::NoConfig, overrides, around);
            }
            usual
        }
    };
    let shown = path.display().to_string();
    match std::fs::read_to_string(&path) {
        Ok(text) => build(&shown, &text, Source::File(path), overrides, around),
        Err(why) => Err(vec![
            Complaint::whole(shown, format!("cannot be read: {why}"))
                .help("name another with --config or FLYBALL_CONFIG"),
        ]),
    }
}

/// One reading of one file: what its parts need in common.
struct Reading<'a> {
    overrides: &'a Overrides,
    around: &'a Surroundings<'a>,
    source: &'a Source,
    /// The folder to which paths in the file are relative.
    folder: PathBuf,
    /// Complaints about other things than lines of the file.
    others: RefCell<Vec<Complaint>>,
    sources: RefCell<Vec<PathBuf>>,
    notes: RefCell<Vec<String>>,
    warnings: RefCell<Vec<String>>,
    keys_named: RefCell<Vec<names::NamedKey>>,
    tags_named: RefCell<Vec<names::NamedTag>>,
}

impl Reading<'_> {
    fn complain(&self, complaint: Complaint) {
        self.others.borrow_mut().push(complaint);
    }

    fn complaints_so_far(&self, page: &Page<'_>) -> usize {
        self.others.borrow().len() + page.mistakes()
    }

    fn note(&self, note: String) {
        self.notes.borrow_mut().push(note);
    }

    fn warn(&self, warning: String) {
        self.warnings.borrow_mut().push(warning);
    }

    /// A path of the file: relative to its folder, `~/` to the home folder.
    fn path(&self, written: &str) -> PathBuf {
        match (written.strip_prefix("~/"), (self.around.env)("HOME")) {
            (Some(rest), Some(home)) => Path::new(&home).join(rest),
            _ => self.folder.join(written),
        }
    }

    /// The text of a file beside the configuration, which is watched from now on.
    fn file(&self, top: &Table<'_>, key: &str, path: &Path) -> Option<String> {
        self.sources.borrow_mut().push(path.to_owned());
        match std::fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(why) => {
                let text = format!("{key}: {} cannot be read: {why}", path.display());
                top.complain(key, text, None);
                None
            }
        }
    }
}

fn build(
    file: &str,
    text: &str,
    source: Source,
    overrides: &Overrides,
    around: &Surroundings<'_>,
) -> Result<Config, Vec<Complaint>> {
    let folder = Path::new(file).parent().map(Path::to_owned);
    let reading = Reading {
        overrides,
        around,
        source: &source.clone(),
        folder: folder.unwrap_or_default(),
        others: RefCell::default(),
        sources: RefCell::default(),
        notes: RefCell::default(),
        warnings: RefCell::default(),
        keys_named: RefCell::default(),
        tags_named: RefCell::default(),
    };
    if let Source::File(path) = &source {
        reading.sources.borrow_mut().push(path.clone());
    }
    let page = Page::new(file, text);
    let config = page.parse().and_then(|tree| {
        let top = Table::top(&page, &tree);
        let config = settings(&reading, &page, &top);
        top.finish();
        config
    });
    let (sources, notes) = (reading.sources.take(), reading.notes.take());
    let mut complaints = reading.others.take();
    complaints.splice(0..0, page.complaints());
    match config {
        Some(config) if complaints.is_empty() => Ok(Config {
            sources,
            source,
            providers_note: notes,
            warnings: reading.warnings.take(),
            keys_named: reading.keys_named.take(),
            tags_named: reading.tags_named.take(),
            ..config
        }),
        _ => Err(complaints),
    }
}

fn settings(reading: &Reading<'_>, page: &Page<'_>, top: &Table<'_>) -> Option<Config> {
    let overrides = reading.overrides;
    let listen = places::listener(reading, top, &places::TRAFFIC, overrides.listen.as_deref());
    let admin_listen = places::listener(
        reading,
        top,
        &places::ADMIN,
        overrides.admin_listen.as_deref(),
    );
    let free = |address: &Address| address.tcp().is_some_and(|tcp| tcp.port() == 0);
    if listen == admin_listen && listen.as_ref().is_some_and(|address| !free(address)) {
        let help = Some(match listen {
            Some(Address::Unix(_)) => "give each its own path".to_owned(),
            _ => "give each its own port".to_owned(),
        });
        top.complain(
            "admin_listen",
            "admin_listen is the same address as listen",
            help,
        );
    }
    let (sockets, proxied) = (places::sockets(top), places::proxied(top));
    let data_dir = places::data_dir(reading, top);
    let admin_token = secret::read(reading, top, "admin_token");
    let log = top.choice("log", "log format", &[("text", false), ("json", true)]);
    let objectives = Objective::ALL.map(|o| (o.name(), o));
    let objective = top.choice("objective", "objective", &objectives);
    let written: Option<Vec<String>> = top
        .words("intercept")
        .map(|words| words.into_iter().map(|w| w.text).collect());
    let intercept = match overrides.intercept.is_empty() {
        true => written.unwrap_or_default(),
        false => overrides.intercept.clone(),
    };
    let tokens = answer_tokens(top);
    let lower_limits = top.flag("lower_limits").unwrap_or(true);
    let grade_asked = top.flag("grade_asked").unwrap_or(false);
    let may_drop: Option<Vec<String>> = top
        .words("may_drop")
        .map(|words| words.into_iter().map(|w| w.text).collect());
    let overlay = overlay(reading, top);
    let zone = caps::zone(top);
    let teams = caps::teams(top);
    let cap_webhook = caps::webhook(reading, top).map(Arc::new);
    let webhooks = Arc::new(webhook::webhooks(reading, top));
    let guard = guard::guard(top);
    let end_users = end_users::end_users(top);
    let cap_wait = top.duration("cap_wait").unwrap_or(Duration::ZERO);
    let lease_permille = small(top, "lease_permille", 0, 1_000);
    let sessions_max = small(top, "sessions_max", 1_000, 1_000_000);
    let shared_ledger = secret::read(reading, top, "shared_ledger");
    let replica_timeout = top
        .duration("replica_timeout")
        .unwrap_or(Duration::from_secs(15));
    let ledger_keep = ledger_keep(top);
    let limits = limits(top);
    let loopback = [&listen, &admin_listen]
        .iter()
        .all(|a| a.as_ref().is_some_and(Address::is_local));
    let before = reading.complaints_so_far(page);
    let stock = vendors::stock(reading, top, loopback);
    // Rules, caps and baseline are not blamed for models that are missing because their own entry is wrong, or because no provider
    // was looked for.
    let whole = reading.complaints_so_far(page) == before;
    let fleet = (whole && !stock.unknown).then_some(&stock.fleet);
    let (rules, rule_files) = rules(reading, top, fleet);
    let privacy = privacy::privacy(reading, top, &rules, fleet);
    let batch = batch::batch(top);
    let background = background::background(top);
    let response_cache = response_cache::response_cache(reading, top, &rules);
    let providers: Option<Vec<String>> =
        fleet.map(|fleet| fleet.providers.iter().map(|p| p.name.clone()).collect());
    let otlp = otlp::otlp(reading, top, providers.as_deref());
    let front = tls::tls(reading, top);
    let baseline = baseline(top, fleet);
    let aliases = aliases(top, fleet);
    let probing = probing(top, fleet);
    let learning = learn::learn(reading, top, fleet, overlay.is_some());
    let shadow = shadow::shadow(reading, top, &zone, fleet);
    let (shadowing, cap_of_shadows) = shadow.unzip();
    let recovery = recovery(top);
    let hedging = hedge::hedging(top).map(Arc::new);
    let known = fleet.map(|fleet| KnownNames {
        fleet,
        catalogue: &stock.catalogue,
        teams: &teams,
        found: stock.found,
    });
    let mut shared = caps::caps(reading, top, &zone, known.as_ref());
    shared.extend(caps::of_exploring(top, &zone));
    shared.extend(cap_of_shadows);
    let caps = Shared {
        caps: shared,
        each_key: caps::of_each_key(reading, top, &zone, known.as_ref()),
        notify_percent: caps::notify_percent(top).unwrap_or_default(),
    };
    let keys = keys::keys(reading, top, &zone, known.as_ref());
    if let Some(known) = &known {
        doubt_patterns(reading, top, known, &intercept, &rules);
        hedge::doubt(reading, top, known, limits.total);
        channels::doubt(reading, top, known);
    }
    for rule in &rules {
        let place = format!("{}:{}: rule \"{}\"", rule.file, rule.line, rule.name);
        let named = |name: &String| names::NamedKey {
            name: name.clone(),
            place: place.clone(),
        };
        let mut keys = reading.keys_named.borrow_mut();
        keys.extend(rule.when.key.iter().map(named));
    }
    Some(Config {
        listen: listen?,
        admin_listen: admin_listen?,
        sockets,
        proxied,
        data_dir: data_dir?,
        admin_token,
        log_json: log.unwrap_or(false),
        rules,
        objective: objective.unwrap_or_default(),
        intercept,
        baseline,
        aliases,
        answer_tokens_max: tokens.0,
        answer_tokens_min: tokens.1,
        lower_limits,
        grade_asked,
        may_drop: may_drop.unwrap_or_else(|| vec!["*".into()]),
        overlay,
        probing,
        learning,
        shadowing,
        recovery,
        hedging,
        privacy,
        batch,
        background,
        response_cache,
        caps,
        keys,
        teams,
        guard,
        end_users,
        cap_wait,
        otlp,
        tls: front.identity,
        tls_certificate: front.certificate,
        tls_admin: front.admin,
        cap_webhook,
        webhooks,
        lease_permille,
        sessions_max,
        shared_ledger,
        replica_timeout,
        ledger_keep,
        simulate: stock.simulate,
        limits,
        catalogue: stock.catalogue,
        fleet: stock.fleet,
        sources: Vec::new(),
        source: Source::NoConfig,
        providers_note: Vec::new(),
        warnings: Vec::new(),
        found: stock.found,
        keys_named: Vec::new(),
        tags_named: Vec::new(),
        zone,
        rule_files,
    })
}

/// Warns of patterns that no model is like: `intercept`, and the models that rules ask for.
fn doubt_patterns(
    reading: &Reading<'_>,
    top: &Table<'_>,
    known: &KnownNames<'_>,
    intercept: &[String],
    rules: &[Rule],
) {
    let place = match reading.overrides.intercept.is_empty() {
        true => format!("{}: intercept", top.place("intercept")),
        false => "--intercept".to_owned(),
    };
    for doubt in intercept.iter().filter_map(|name| known.intercepted(name)) {
        reading.warn(format!("{place}: {doubt}"));
    }
    for rule in rules {
        let asked = rule.when.model.iter();
        // An app may call a model by a name that is intercepted and nobody else's.
        let own = asked.filter(|name| !intercept.iter().any(|p| p != "*" && like(p, name)));
        for doubt in own.filter_map(|name| known.intercepted(name)) {
            reading.warn(format!(
                "{}:{}: rule \"{}\": {doubt}",
                rule.file, rule.line, rule.name
            ));
        }
    }
}

/// The overlay that `[grader]` names.
fn overlay(reading: &Reading<'_>, top: &Table<'_>) -> Option<Arc<Overlay>> {
    let table = top.table("grader")?;
    let path = table.text("overlay").map(|written| reading.path(written));
    let text = path
        .as_ref()
        .and_then(|path| reading.file(&table, "overlay", path));
    let read = text.map(|text| Overlay::read(&text));
    let overlay = match read {
        Some(Ok(overlay)) => Some(Arc::new(overlay)),
        Some(Err(why)) => {
            table.complain("overlay", format_args!("overlay: {why}"), None);
            None
        }
        None => None,
    };
    table.finish();
    overlay
}

/// The default token limit of an answer and the least worth sending.
fn answer_tokens(top: &Table<'_>) -> (u64, u64) {
    // 8,192 tokens are about 6,000 words: longer answers are asked for by name. 256 still hold a useful one.
    let max = top.count_from_1("answer_tokens_max").unwrap_or(8192);
    let min = top.count_from_1("answer_tokens_min").unwrap_or(256);
    if min > max {
        let text = format!("answer_tokens_min ({min}) is above answer_tokens_max ({max})");
        let key = if top.has("answer_tokens_min") {
            "answer_tokens_min"
        } else {
            "answer_tokens_max"
        };
        top.complain(key, text, None);
    }
    (max, min)
}

/// When a cheaper arm is asked first, and how long its stream is held back for it.
fn recovery(top: &Table<'_>) -> Recovery {
    let usual = Recovery::default();
    let ways = AfterFailure::ALL.map(|way| (way.name(), way));
    let chosen = top.choice("fallback_after", "kind of failure", &ways);
    Recovery {
        retries: small(top, "retries", usual.retries, 3),
        after_failure: chosen.unwrap_or(usual.after_failure),
    }
}

fn probing(top: &Table<'_>, fleet: Option<&Fleet>) -> Probing {
    let usual = Probing::default();
    let ways = [("never", false), ("pays", true)];
    let hold = small(top, "probe_hold_tokens", 24, 1_000);
    Probing {
        where_it_pays: top
            .choice("probe", "way of probing", &ways)
            .unwrap_or(usual.where_it_pays),
        hold_tokens: usize::try_from(hold).unwrap_or(usual.hold_tokens),
        hold_for: top.duration("probe_hold").unwrap_or(usual.hold_for),
        explore_ppm: explored(top),
        checks: top.flag("probe_check").unwrap_or(usual.checks),
        verifier: verifier(top, fleet),
    }
}

/// The model that is asked whether an answer is right.
fn verifier(top: &Table<'_>, fleet: Option<&Fleet>) -> Option<String> {
    let name = top.text("verifier")?;
    if let Some(fleet) = fleet
        && fleet.named(name).is_none()
    {
        let help = suggest(name, fleet.models.iter().map(|m| m.name.as_str()));
        top.complain(
            "verifier",
            format_args!("no model is named \"{name}\""),
            help,
        );
    }
    Some(name.to_owned())
}

/// The share of answers that are compared although they stand, in millionths.
fn explored(top: &Table<'_>) -> u32 {
    let share = top.number("probe_explore").unwrap_or(0.0);
    if !(0.0..=0.1).contains(&share) {
        let text = format_args!("probe_explore {share} is not from 0 to 0.1");
        top.complain("probe_explore", text, None);
        return 0;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is from 0 to a hundred thousand"
    )]
    let ppm = (share * 1e6).round() as u32;
    ppm
}

/// A count up to `most`.
fn small(top: &Table<'_>, key: &'static str, usual: u32, most: u32) -> u32 {
    let Some(count) = top.count(key) else {
        return usual;
    };
    let fits = u32::try_from(count).ok().filter(|n| *n <= most);
    if fits.is_none() {
        top.complain(key, format_args!("{key} is at most {most}"), None);
    }
    fits.unwrap_or(usual)
}

/// A count from 1 to `most`.
fn small_from_1(table: &Table<'_>, key: &'static str, usual: u32, most: u32) -> u32 {
    let Some(count) = table.count_from_1(key) else {
        return usual;
    };
    let fits = u32::try_from(count).ok().filter(|n| *n <= most);
    if fits.is_none() {
        table.complain(key, format_args!("{key} is at most {most}"), None);
    }
    fits.unwrap_or(usual)
}

/// A new cap on a month begins with what the month's attempts add up to, so those must be there; and a deadline's batch is open for
/// days.
const LEDGER_KEEP_DAYS_MIN: u64 = 40;

/// How long attempts are kept.
fn ledger_keep(top: &Table<'_>) -> Option<Duration> {
    let keep = top.duration("ledger_keep")?;
    if keep < Duration::from_secs(LEDGER_KEEP_DAYS_MIN * 86_400) {
        let why = format_args!(
            "ledger_keep is \"{LEDGER_KEEP_DAYS_MIN}d\" at least: caps on a month are worked out from its attempts"
        );
        top.complain("ledger_keep", why, None);
    }
    Some(keep)
}

fn limits(top: &Table<'_>) -> Limits {
    let usual = Limits::default();
    let Some(table) = top.table("limits") else {
        return usual;
    };
    let size = |key, usual: usize| {
        let count = table.count_from_1(key);
        count.map_or(usual, |n| usize::try_from(n).unwrap_or(usize::MAX))
    };
    let time = |key, usual| table.duration(key).unwrap_or(usual);
    let limits = Limits {
        body_bytes_max: size("body_bytes_max", usual.body_bytes_max),
        head_bytes_max: size("head_bytes_max", usual.head_bytes_max),
        connections_max: size("connections_max", usual.connections_max),
        streams_max: small_from_1(&table, "streams_max", usual.streams_max, 1_000),
        connect: time("connect", usual.connect),
        first_byte: time("first_byte", usual.first_byte),
        idle: time("idle", usual.idle),
        silent: time("silent", usual.silent),
        total: time("total", usual.total),
        client_head: time("client_head", usual.client_head),
        client_body: time("client_body", usual.client_body),
        grace: time("grace", usual.grace),
    };
    table.finish();
    limits
}

/// The operator's rules with their files, or the starter rules where there are none. Empty only after complaints.
fn rules(
    reading: &Reading<'_>,
    top: &Table<'_>,
    fleet: Option<&Fleet>,
) -> (Vec<Rule>, Vec<String>) {
    let written = top.text("rules").map(|text| reading.path(text));
    let beside = reading.folder.join("rules");
    let is_file = matches!(reading.source, Source::File(_));
    let folder = match written {
        Some(folder) => Some(folder),
        None => Some(beside).filter(|folder| is_file && folder.is_dir()),
    };
    let own = folder.map(|folder| rule_files(reading, top, &folder));
    let names = own.iter().flatten().map(|(name, _)| name.clone()).collect();
    let rules = policy::parse(&own.unwrap_or_else(policy::embedded), fleet);
    let rules = rules.unwrap_or_else(|complaints| {
        reading.others.borrow_mut().extend(complaints);
        Vec::new()
    });
    (rules, names)
}

/// Every `*.toml` of the folder, by name.
fn rule_files(reading: &Reading<'_>, top: &Table<'_>, folder: &Path) -> Vec<(String, String)> {
    reading.sources.borrow_mut().push(folder.to_owned());
    let listed = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = match listed {
        Ok(entries) => entries,
        Err(why) => {
            let text = format!("rules: {} cannot be read: {why}", folder.display());
            top.complain("rules", text, None);
            return Vec::new();
        }
    };
    let mut paths: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    paths.sort();
    if paths.is_empty() {
        let text = format!("rules: {} has no *.toml file", folder.display());
        let help = "add one, or remove the folder to use the starter rules";
        top.complain("rules", text, Some(help.to_owned()));
    }
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let shown = path.display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => files.push((shown, text)),
            Err(why) => reading.complain(Complaint::whole(shown, format!("cannot be read: {why}"))),
        }
    }
    files
}

fn baseline(top: &Table<'_>, fleet: Option<&Fleet>) -> Option<Arm> {
    let text = top.text("baseline")?;
    let fleet = fleet?;
    let arm = fleet.arm(text);
    if arm.is_none() {
        let (why, help) = policy::no_arm(fleet, text);
        top.complain("baseline", format_args!("baseline: {why}"), help);
    }
    arm
}

/// Other names of arms: `fast-coder = "gpt-5@low"`.
fn aliases(top: &Table<'_>, fleet: Option<&Fleet>) -> BTreeMap<String, Arm> {
    let mut aliases = BTreeMap::new();
    let (pairs, Some(fleet)) = (top.pairs("aliases"), fleet) else {
        return aliases;
    };
    for (name, text) in pairs {
        let taken = name.is_empty() || name.starts_with("auto") || fleet.named(&name).is_some();
        if taken {
            let why = format_args!("aliases: \"{name}\" is the name of something else already");
            top.complain("aliases", why, Some("choose another name".into()));
        } else if let Some(arm) = fleet.arm(&text) {
            aliases.insert(name, arm);
        } else {
            let (why, help) = policy::no_arm(fleet, &text);
            top.complain("aliases", format_args!("aliases: \"{name}\": {why}"), help);
        }
    }
    aliases
}

#[cfg(test)]
mod tests;
