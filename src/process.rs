//! A running flyball: from a configuration to listeners, and back to nothing.
//!
//! Everything is composed here and nowhere else; what a reload may change is swapped as a whole.

pub(crate) mod accountant;
mod audit;
mod batches;
mod handover;
mod keys;
mod later;
mod learned;
mod learning;
mod notices;

use crate::admin::{self, Admin, ConfigurationState};
use crate::affinity::Affinity;
use crate::arm::Effort;
use crate::classify::KnownAsks;
use crate::config::{self, Complaint, Config, Overrides};
use crate::error::{Error, Kind};
use crate::exchange::background::{self, Background};
use crate::exchange::batches::Batches;
use crate::exchange::{self, Shadows, State};
use crate::fleet;
use crate::ledger::books::Owner;
use crate::ledger::stopped::StoppedSession;
use crate::ledger::store::Key;
use crate::ledger::{Address, Ledger, Settings, books, keyring, now};
use crate::provider::simulated::EMBEDDER;
use crate::response_cache::ResponseCache;
use crate::route::Policy;
use crate::server;
use crate::server::address::Address as Place;
use crate::server::listener::{self, Inherited, Terms as SocketTerms};
use crate::server::proxied::Trusted;
use crate::settle::jobs::Jobs;
use crate::simulate::{self, Simulated};
use crate::telemetry::{KnownArm, KnownPrices, SimulatedModels, Telemetry, otlp};
use crate::tls::server::Greeter;
use crate::upstream::Upstream;
use crate::upstream::channels::Channels;
use accountant::Accountant;
use arc_swap::{ArcSwap, ArcSwapOption};
use keys::{Follower, Keys};
use notices::Notices;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

/// How long answers of the admin listener may: none takes long.
const ADMIN_GRACE: Duration = Duration::from_secs(1);
/// Mistakes of a configuration that are kept to be shown; the log has them all.
const COMPLAINTS_MAX: usize = 20;
/// How long a stop waits for a ledger that cannot write.
const DRAIN: Duration = Duration::from_secs(10);

/// A flyball that serves.
pub struct Running {
    /// Where traffic goes on the network; unspecified where it comes over a unix socket.
    pub listen: SocketAddr,
    /// Where metrics and health are on the network; as there.
    pub admin: SocketAddr,
    /// Where traffic goes, as a client asks it.
    pub url: String,
    /// Where metrics and health are, as a client asks it.
    pub admin_url: String,
    /// Another flyball may take over.
    follows: bool,
    /// What the exchanges work with.
    pub state: Arc<State>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    reloader: Arc<Reloader>,
    follower: Arc<Follower>,
    accountant: Arc<Mutex<Accountant>>,
    /// Kept alive: dropping it ends the simulated models.
    pub simulated: Option<Simulated>,
}

/// Reads the configuration again and swaps what may change.
struct Reloader {
    state: Arc<State>,
    overrides: Overrides,
    simulated_at: Option<SocketAddr>,
    keys: Arc<Keys>,
    follower: Arc<Follower>,
    fixed: Fixed,
    configuration: std::sync::Mutex<ConfigurationState>,
    exports: Option<otlp::Settings>,
    greeter: Option<Arc<Greeter>>,
}

/// What changes only with a restart.
#[derive(PartialEq)]
struct Fixed {
    listeners: (Place, Place),
    sockets: SocketTerms,
    proxied: Option<Arc<Trusted>>,
    tls_admin: bool,
    settings: Settings,
}

impl Fixed {
    fn of(config: &Config) -> Fixed {
        Fixed {
            listeners: (config.listen.clone(), config.admin_listen.clone()),
            sockets: config.sockets,
            proxied: config.proxied.clone(),
            tls_admin: config.tls_admin,
            settings: settings_of(config),
        }
    }
}

/// Starts serving.
///
/// # Errors
/// A busy port, a data folder in use, a ledger that is too new, a listener that needs keys.
pub async fn start(config: Config, overrides: Overrides) -> Result<Running, Error> {
    start_on(config, overrides, Inherited::default()).await
}

/// Nobody listens at this address of the network.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// As [`start`], on sockets that were handed over in the place of those that the configuration names.
///
/// # Errors
/// As there.
pub async fn start_on(
    mut config: Config,
    overrides: Overrides,
    inherited: Inherited,
) -> Result<Running, Error> {
    let simulated = start_simulated(&config).await?;
    if let Some(models) = &simulated {
        config = config.with_simulated_at(models.address);
    }
    // Whoever hands over sockets keeps them open for the next process, and with `reuse_port` another one may listen there as well.
    let follows = config.sockets.reuse_port || !inherited.is_empty();
    let fixed = Fixed::of(&config);
    // The ports first: a second flyball by mistake should hear of the port, not of the ledger.
    let mut doors = doors(&config, inherited)?;
    if !follows {
        doors.listen(false)?;
    }
    let [listen, admin_at] = doors.addresses()?;
    config.listen = listen.clone();
    config.admin_listen = admin_at.clone();

    let settings = fixed.settings.clone();
    let patience = follows.then(|| config.limits.grace + TAKES_OVER);
    let owner = handover::take(&settings, &mut doors, patience).await?;
    let configured = config.keys.clone();
    let (ledger, (key_list, stopped)) = open_books(owner, settings.clone(), configured).await?;
    check_exposure(&config, key_list.is_empty())?;
    let [traffic, admin_listener] = doors.open()?;
    warn(&config, &key_list);
    let (cut, closing) = watch::channel(false);
    let mut telemetry = Telemetry::new(&config.catalogue.version);
    if let Some(otlp) = &config.otlp {
        tracing::info!(
            endpoint = otlp.endpoint,
            traces = otlp.traces,
            metrics = otlp.metrics,
            "exports to an OpenTelemetry collector"
        );
        telemetry.export(otlp, Upstream::new(&config.limits));
    }
    let telemetry = Arc::new(telemetry);
    let kept_batches = Batches::new(
        config.batch.clone(),
        ledger.settings().clone(),
        Arc::clone(&telemetry),
    );
    let state = Arc::new(State {
        batches: Arc::new(kept_batches),
        background: Background::new(config.background),
        ledger,
        upstream: Upstream::new(&config.limits),
        channels: Channels::default(),
        shadows: Shadows::default(),
        jobs: Arc::new(Jobs::new(Arc::clone(&telemetry))),
        telemetry,
        callers: ArcSwap::default(),
        affinity: Affinity::default(),
        known_asks: KnownAsks::default(),
        response_cache: ArcSwapOption::new(response_cache_of(&config)),
        paces: ArcSwap::default(),
        policy: ArcSwap::from_pointee(policy_of(&config)),
        learned: ArcSwap::default(),
        limits: config.limits.clone(),
        loopback: listen.is_loopback(),
        alive: Arc::new(()),
        closing,
    });
    let kept = state.ledger.take_learned();
    learned::restore(&state, &kept);
    publish_known(&state);
    let keys = Arc::new(Keys::new(
        state.clone(),
        (config.caps.clone(), config.keys.clone()),
        (key_list, stopped),
    ));
    keys.settle()
        .await
        .map_err(|why| Error::new(Kind::Internal, "the caps cannot be set").detail(why))?;
    let follower = Arc::new(Follower::start(
        keys.clone(),
        Notices::new(&kept),
        tokio::runtime::Handle::current(),
    ));
    audit::note_aside(settings, config.sources.clone(), "start");
    let scheme = |tls: bool| if tls { "https" } else { "http" };
    let url = listen.url(scheme(config.tls.is_some()));
    let admin_url = admin_at.url(scheme(config.tls.is_some() && config.tls_admin));
    let greeter = config.tls.clone().map(|tls| Arc::new(Greeter::new(tls)));
    let reloader = Arc::new(Reloader {
        state: state.clone(),
        overrides,
        simulated_at: simulated.as_ref().map(|s| s.address),
        keys,
        follower: follower.clone(),
        fixed,
        configuration: std::sync::Mutex::new(now_in_force()),
        exports: config.otlp.clone(),
        greeter: greeter.clone(),
    });

    let (stop, stopped) = watch::channel(false);
    let accountant = Arc::new(Mutex::new(Accountant::default()));
    let tasks = vec![
        tokio::spawn(accountant::keep_reading(
            accountant.clone(),
            state.clone(),
            stopped.clone(),
        )),
        tokio::spawn(batches::keep_working(state.clone(), stopped.clone())),
        tokio::spawn(background::keep_polling(state.clone(), stopped.clone())),
        tokio::spawn(later::keep_telling(state.clone(), stopped.clone())),
        tokio::spawn(learning::keep_learning(state.clone(), stopped.clone())),
        tokio::spawn(serve_traffic(
            server::Door {
                listener: traffic,
                greeter: greeter.clone(),
                proxied: config.proxied.clone(),
            },
            state.clone(),
            server::Drain {
                stop: stopped.clone(),
                grace: config.limits.grace,
                cut,
                follows,
            },
        )),
        tokio::spawn(serve_admin(
            server::Door {
                listener: admin_listener,
                greeter: greeter.filter(|_| config.tls_admin),
                proxied: None,
            },
            admin_of(&config, &state, &reloader, &admin_at),
            state.limits.clone(),
            server::Drain {
                stop: stopped,
                grace: ADMIN_GRACE,
                cut: watch::channel(false).0,
                follows,
            },
        )),
    ];
    Ok(Running {
        listen: listen.tcp().unwrap_or(NOWHERE),
        admin: admin_at.tcp().unwrap_or(NOWHERE),
        url,
        admin_url,
        follows,
        state,
        stop,
        tasks,
        reloader,
        follower,
        accountant,
        simulated,
    })
}

/// How long a flyball may take to close its books after its answers have ended, and to be told to stop in the first place.
const TAKES_OVER: Duration = Duration::from_secs(30);

/// The addresses of the configuration, or the sockets that were handed over.
fn doors(config: &Config, inherited: Inherited) -> Result<handover::Doors, Error> {
    let terms = config.sockets;
    let reserved = |given, address, flag| match given {
        Some(listener) => Ok(listener::Reserved::Open(listener)),
        None => listener::reserve(address, terms, flag),
    };
    let traffic = reserved(inherited.traffic, &config.listen, "--listen")?;
    let admin = reserved(inherited.admin, &config.admin_listen, "--admin-listen")?;
    Ok(handover::Doors::new(traffic, admin, terms))
}

async fn start_simulated(config: &Config) -> Result<Option<Simulated>, Error> {
    let Some((speed, seed)) = config.simulate else {
        return Ok(None);
    };
    let started = simulate::start(simulate::Settings { seed, speed }).await;
    started.map(Some).map_err(|e| {
        Error::new(Kind::Internal, "the simulated models cannot start").detail(e.to_string())
    })
}

/// Whoever can reach a listener that is not loopback needs a key, as those do whom a load balancer passes on, and the admin listener a token.
fn check_exposure(config: &Config, open: bool) -> Result<(), Error> {
    let refuse =
        |detail: String| Err(Error::new(Kind::Internal, "refused to listen").detail(detail));
    let port = |place: &Place| place.tcp().map_or(0, |address| address.port());
    if !config.listen.is_local() && open {
        return refuse(format!(
            "{} can be reached from other machines, so callers need keys: make one first with `flyball key create NAME`, or use --listen 127.0.0.1:{}",
            config.listen,
            port(&config.listen)
        ));
    }
    if config.proxied.is_some() && open {
        return refuse(format!(
            "proxy_protocol is for a load balancer that passes on who comes from other machines to {}, so callers need keys: make one first with `flyball key create NAME`, or remove proxy_protocol",
            config.listen
        ));
    }
    if !config.admin_listen.is_local() && config.admin_token.is_none() {
        return refuse(format!(
            "{} can be reached from other machines, so it needs a token: set admin_token = \"env:FLYBALL_ADMIN_TOKEN\" in flyball.toml, or use --admin-listen 127.0.0.1:{}",
            config.admin_listen,
            port(&config.admin_listen)
        ));
    }
    Ok(())
}

/// Names in the configuration and of keys that guard nothing.
fn warn(config: &Config, keys: &[Key]) {
    let doubts = config.doubts_about_keys(keys);
    for warning in config.warnings.iter().chain(&doubts) {
        tracing::warn!("{warning}");
    }
}

/// How this configuration keeps the books.
#[must_use]
pub fn settings_of(config: &Config) -> Settings {
    Settings {
        data_dir: config.data_dir.clone(),
        lease_permille: config.lease_permille,
        sessions_max: config.sessions_max,
        shared: config.shared_ledger.clone().map(Address),
        replica_timeout: config.replica_timeout,
        keep: config.ledger_keep,
    }
}

/// Opening a ledger waits for a disk or a server.
async fn open_books(
    owner: Owner,
    settings: Settings,
    configured: Vec<Key>,
) -> Result<(Arc<Ledger>, (Vec<Key>, Vec<StoppedSession>)), Error> {
    let work = move || {
        let ledger = Ledger::open_as(owner, settings.clone())?;
        let mut books = books::open(&settings)?;
        for act in keyring::configuring(&books.keys()?, &configured, now()) {
            keys::configure(books.as_mut(), &act)?;
        }
        let (keys, stopped) = (books.keys()?, books.stopped()?);
        Ok((ledger, (keys, stopped)))
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| {
        Error::new(Kind::Internal, "the ledger cannot be opened").detail(e.to_string())
    })?
}

/// What decisions are made from, by this configuration.
#[must_use]
pub fn policy_of(config: &Config) -> Policy {
    Policy {
        fleet: config.fleet.clone(),
        rules: config.rules.iter().cloned().map(Arc::new).collect(),
        objective: config.objective,
        intercept: config.intercept.clone(),
        baseline: config.baseline.clone(),
        aliases: config.aliases.clone(),
        catalogue: config.catalogue.clone(),
        answer_tokens_max: config.answer_tokens_max,
        answer_tokens_min: config.answer_tokens_min,
        lower_limits: config.lower_limits,
        grade_asked: config.grade_asked,
        may_drop: config.may_drop.clone(),
        recovery: config.recovery,
        hedging: config.hedging.clone(),
        cap_wait: config.cap_wait,
        cap_webhook: config.cap_webhook.clone(),
        teams: config.teams.clone(),
        zone: config.zone.clone(),
        overlay: config.overlay.clone(),
        learned: Arc::default(),
        abilities: None,
        privacy: config.privacy.clone(),
        guard: config.guard,
        end_users: config.end_users.clone(),
        probing: config.probing.clone(),
        learning: config.learning.clone(),
        shadowing: config.shadowing.clone(),
        batch_from: config.batch.keep.then_some(config.batch.wait_from),
        webhooks: config.webhooks.clone(),
    }
}

/// The response cache of this configuration, empty.
fn response_cache_of(config: &Config) -> Option<Arc<ResponseCache>> {
    let settings = config.response_cache?;
    Some(Arc::new(ResponseCache::new(settings)))
}

fn publish_known(state: &State) {
    let policy = state.policy.load();
    let rules = policy
        .rules
        .iter()
        .map(|r| r.name.clone())
        .chain(["asked", "passed", "default"].map(str::to_owned))
        .collect();
    let models = policy.fleet.models.iter().map(|m| m.name.clone());
    let models = models.chain([EMBEDDER.to_owned()]).collect();
    let providers = policy
        .fleet
        .providers
        .iter()
        .map(|p| p.name.clone())
        .collect();
    state.telemetry.known(models, rules, providers);
    let arms = policy.fleet.models.iter().flat_map(|model| {
        let usual = fleet::default_effort(model);
        let all = Effort::ALL.into_iter();
        let may_be = all.filter(move |e| *e == usual || model.accepts.efforts.contains(e));
        may_be.map(|effort| KnownArm {
            provider: &model.provider.name,
            model: &model.name,
            tier: model.tier,
            effort,
        })
    });
    state.telemetry.known_arms(arms);
    let simulated = policy.fleet.models.iter().map(|model| model.simulated);
    let simulated = SimulatedModels::among(simulated);
    let prices = KnownPrices {
        version: &policy.catalogue.version,
        made_unix: policy.catalogue.made_unix(),
    };
    state.telemetry.prices(prices, simulated);
}

async fn serve_traffic(door: server::Door, state: Arc<State>, drain: server::Drain) {
    let limits = state.limits.clone();
    let handle = move |request, client: server::Client| {
        let state = state.clone();
        async move { exchange::handle(&state, request, client.address).await }
    };
    server::accept(door, limits, drain, handle).await;
}

async fn serve_admin(
    door: server::Door,
    admin: Arc<Admin>,
    limits: crate::limits::Limits,
    drain: server::Drain,
) {
    let handle = move |request, _| {
        let admin = admin.clone();
        async move { admin::handle(&admin, request).await }
    };
    server::accept(door, limits, drain, handle).await;
}

fn admin_of(
    config: &Config,
    state: &Arc<State>,
    reloader: &Arc<Reloader>,
    at: &Place,
) -> Arc<Admin> {
    let follower = reloader.follower.clone();
    let (reloader, told) = (reloader.clone(), reloader.clone());
    let configuration = Box::new(move || told.configuration().clone());
    let reload = Box::new(move || {
        reloader
            .reload()
            .map_err(|all| all.iter().map(ToString::to_string).collect())
    });
    Arc::new(Admin {
        configuration,
        started_at: now(),
        state: state.clone(),
        token: config.admin_token.clone(),
        local: at.is_local(),
        loopback: at.is_loopback(),
        look_at_keys: Box::new(move || follower.wake()),
        found: config.found,
        reload,
    })
}

fn now_in_force() -> ConfigurationState {
    ConfigurationState {
        read_at: now(),
        ..ConfigurationState::default()
    }
}

impl Reloader {
    /// Reads everything again; a mistake leaves what is in force as it is.
    fn reload(&self) -> Result<(), Vec<Complaint>> {
        match config::load(&self.overrides) {
            Ok(config) => {
                *self.configuration() = now_in_force();
                audit::note_aside(
                    self.fixed.settings.clone(),
                    config.sources.clone(),
                    "configuration read again",
                );
                self.take(config);
                self.state.telemetry.reloaded(true);
                tracing::info!("the configuration was read again");
                Ok(())
            }
            Err(complaints) => {
                self.state.telemetry.reloaded(false);
                self.refused(&complaints);
                for complaint in &complaints {
                    tracing::error!("{complaint}; the old configuration stays in force");
                }
                Err(complaints)
            }
        }
    }

    fn refused(&self, complaints: &[Complaint]) {
        let mut state = self.configuration();
        state.refused_at = Some(now());
        state.complaints = complaints.iter().map(ToString::to_string).collect();
        state.complaints.truncate(COMPLAINTS_MAX);
    }

    fn configuration(&self) -> MutexGuard<'_, ConfigurationState> {
        self.configuration
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, mut config: Config) {
        warn(&config, &self.keys.list());
        if Fixed::of(&config) != self.fixed {
            tracing::warn!(
                "listeners and their sockets, proxy_protocol, proxy_trusted, admin of tls, data_dir, shared_ledger, ledger_keep, lease_permille and sessions_max change only with a restart"
            );
        }
        match (&self.greeter, config.tls.take()) {
            (Some(greeter), Some(identity)) => greeter.replace(identity),
            (None, None) => {}
            _ => tracing::warn!("tls begins and ends only with a restart"),
        }
        if config.otlp != self.exports {
            tracing::warn!("otlp changes only with a restart");
        }
        match self.simulated_at {
            Some(address) => config = config.with_simulated_at(address),
            None if config.simulate.is_some() => {
                tracing::warn!("simulated models start only with a restart")
            }
            None => {}
        }
        let cache = &self.state.response_cache;
        if cache.load().as_ref().map(|cache| cache.settings) != config.response_cache {
            cache.store(response_cache_of(&config));
            self.state.tell_response_cache();
        }
        let batch = Arc::new(config.batch.clone());
        self.state.batches.settings.store(batch);
        let background = Arc::new(config.background);
        self.state.background.settings.store(background);
        let mut policy = policy_of(&config);
        policy.go_by(&self.state.learned.load_full());
        let before = self.state.policy.swap(Arc::new(policy));
        let after = self.state.policy.load();
        for was in &before.fleet.providers {
            let mut now = after.fleet.providers.iter().filter(|p| p.name == was.name);
            if !now.any(|now| now.is_reached_like(was)) {
                self.state.channels.health.forget(&was.name);
            }
        }
        publish_known(&self.state);
        self.keys.take_shared(config.caps, config.keys);
        self.follower.wake();
    }
}

impl Running {
    /// Reads the configuration again, as SIGHUP and a changed file do.
    ///
    /// # Errors
    /// Every mistake; the old configuration stays in force.
    pub fn reload(&self) -> Result<(), Vec<Complaint>> {
        self.reloader.reload()
    }

    /// For tests: reads what metrics tell of the books now, and not only when it is time.
    #[doc(hidden)]
    pub async fn account(&self) {
        self.accountant.lock().await.look_at_all(&self.state).await;
    }

    /// A function that reads the configuration again.
    pub fn reloading(&self) -> impl FnMut() + Send + 'static + use<> {
        let reloader = self.reloader.clone();
        move || drop(reloader.reload())
    }

    /// Stops accepting, lets answers finish, settles and writes everything.
    pub async fn stop(mut self) {
        self.state.batches.stop_soon();
        if self.follows {
            self.state.ledger.leaves();
            handover::followed(self.state.ledger.settings()).await;
        }
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            // A panicked listener has said so itself.
            let _ = task.await;
        }
        let follower = self.follower.clone();
        let _ = tokio::task::spawn_blocking(move || follower.stop()).await;
        self.reloader.keys.stop_settling().await;
        self.state.shadows.end();
        self.state.jobs.end_all();
        self.state.batches.stop().await;
        // Tokens that are being counted off the I/O threads still close their reservations.
        let settled = async {
            while Arc::strong_count(&self.state.alive) > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(5), settled)
            .await
            .is_err()
        {
            tracing::warn!(
                "some attempts were not settled in time; the next start charges them at their bound"
            );
        }
        learned::keep(&self.state);
        self.state.telemetry.stop().await;
        let drained = self.state.ledger.drain();
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::error!(
                "the ledger cannot write its last rows; the next start charges what is open at its bound"
            );
        }
    }
}
