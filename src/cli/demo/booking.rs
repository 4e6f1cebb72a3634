//! Books the requests of the month of `flyball demo --days` as `serve` would: each attempt reserves in every counter, goes out, ends, and is in the
//! ledger once, with its metrics. Time is the month's own.

use super::apps::APPS;
use super::calendar::load;
use super::figures::Figures;
use super::openmetrics::History;
use super::pricing::Pricing;
use super::traffic::{Ask, Try};
use super::world::{App, AppManner};
use crate::arm::Tier;
use crate::dialect;
use crate::error::{Error, Kind};
use crate::ledger::balance::{Balances, Denied, Full, Grant};
use crate::ledger::cap::{Cap, Counter, Measure};
use crate::ledger::record::{Basis, Closing, Compared, Opening, Outcome};
use crate::ledger::store::{Key, Store, StoreWork};
use crate::ledger::window::Zone;
use crate::money::PicoUsd;
use crate::private::{Class, Classes};
use crate::simulate::Dice;
use crate::telemetry::{AttemptClosed, CapRefusal, Decided, ProbePart, Refusal, Telemetry};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Rows and their ends that go into one commit.
const AT_ONCE: usize = 5_000;

/// The open books of the month.
pub(super) struct Booking<'p> {
    pub(super) telemetry: &'p Telemetry,
    pub(super) history: History,
    pub(super) told: MonthTotals,
    pricing: &'p Pricing,
    store: Box<dyn Store>,
    balances: Balances,
    figures: Figures,
    keys: HashMap<String, Key>,
    /// Teams with their organisations.
    teams: BTreeMap<String, String>,
    catalogue: String,
    works: Vec<StoreWork>,
    /// What is to happen, by when, and which of two at the same time came first.
    due: BinaryHeap<Reverse<(i64, u64)>>,
    events: HashMap<u64, Happening>,
    count: u64,
    dice: Dice,
}

/// What the month came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MonthTotals {
    pub(super) requests: u64,
    pub(super) attempts: u64,
    pub(super) refused: u64,
    pub(super) cost: PicoUsd,
    pub(super) baseline: PicoUsd,
}

/// What the books are made from.
pub(super) struct Ground<'p> {
    pub(super) telemetry: &'p Telemetry,
    pub(super) pricing: &'p Pricing,
    pub(super) history: History,
    pub(super) store: Box<dyn Store>,
    pub(super) keys: Vec<Key>,
    pub(super) caps: Vec<Cap>,
    pub(super) teams: BTreeMap<String, String>,
    pub(super) zone: Zone,
    pub(super) catalogue: String,
    pub(super) sessions_max: u32,
    pub(super) seed: u64,
    /// Milliseconds since 1970.
    pub(super) from_ms: i64,
}

enum Happening {
    /// The attempt of this number is to go out, in the place of this one.
    Try(Rc<Ask>, usize, String),
    Ended(Box<Sent>),
}

/// An attempt that is out.
struct Sent {
    ask: Rc<Ask>,
    number: usize,
    opening: Arc<Opening>,
    grant: Grant,
}

impl<'p> Booking<'p> {
    pub(super) fn open(ground: Ground<'p>) -> Result<Booking<'p>, String> {
        let now = ground.from_ms.div_euclid(1_000);
        let counters = Counter::always()
            .into_iter()
            .chain(ground.caps.iter().map(|c| c.counter.clone()));
        let define = StoreWork::Define {
            counters: counters.collect(),
            now,
        };
        let mut balances = Balances::new(false, ground.sessions_max);
        balances.set_caps(&ground.caps, &[], now);
        let name = |key: &Key| {
            APPS.iter()
                .find(|app| app.key == key.name)
                .map(|app| app.key)
        };
        let named = ground.keys.iter();
        let named = named.filter_map(|key| Some((key.id.to_string(), name(key)?)));
        let mut booking = Booking {
            telemetry: ground.telemetry,
            history: ground.history,
            told: MonthTotals::default(),
            pricing: ground.pricing,
            store: ground.store,
            balances,
            figures: Figures::of(named.collect(), ground.zone),
            keys: ground
                .keys
                .into_iter()
                .map(|k| (k.name.clone(), k))
                .collect(),
            teams: ground.teams,
            catalogue: ground.catalogue,
            works: vec![define],
            due: BinaryHeap::new(),
            events: HashMap::new(),
            count: 0,
            dice: Dice::new(ground.seed, &["booking"]),
        };
        booking.commit()?;
        Ok(booking)
    }

    /// A request will come.
    pub(super) fn expect(&mut self, ask: Ask) {
        let at_ms = ask.at_ms;
        self.plan(at_ms, Happening::Try(Rc::new(ask), 0, String::new()));
    }

    fn plan(&mut self, at_ms: i64, happening: Happening) {
        self.count += 1;
        self.due.push(Reverse((at_ms, self.count)));
        self.events.insert(self.count, happening);
    }

    /// Lets everything happen that is due up to this instant.
    pub(super) fn run(&mut self, until_ms: i64) -> Result<(), String> {
        while let Some(Reverse((at_ms, number))) = self.due.peek().copied() {
            if at_ms > until_ms {
                break;
            }
            self.due.pop();
            self.happen(at_ms, number);
            if self.works.len() >= AT_ONCE {
                self.commit()?;
            }
        }
        Ok(())
    }

    /// Nothing new goes out any more; what is out ends.
    pub(super) fn end(&mut self, at_ms: i64) -> Result<(), String> {
        while let Some(Reverse((_, number))) = self.due.pop() {
            match self.events.get(&number) {
                Some(Happening::Ended(_)) => self.happen(at_ms, number),
                _ => drop(self.events.remove(&number)),
            }
        }
        self.commit()
    }

    fn happen(&mut self, at_ms: i64, number: u64) {
        match self.events.remove(&number) {
            Some(Happening::Try(ask, number, from)) => self.send(at_ms, ask, number, from),
            Some(Happening::Ended(sent)) => self.close(at_ms, &sent),
            None => {}
        }
    }

    /// Scrapes, with `more` of what does not come from the books.
    pub(super) fn scrape(&mut self, at_ms: i64, more: &str) {
        self.figures.show(self.telemetry, &mut self.balances, at_ms);
        // What this process itself uses now is not what a flyball used then.
        let mut text = String::new();
        for line in self.telemetry.encode().lines() {
            let own = ["process_", "# HELP process_", "# TYPE process_"];
            if !own.iter().any(|start| line.starts_with(start)) {
                text.push_str(line);
                text.push('\n');
            }
        }
        text.push_str(more);
        self.history.note(at_ms, &text);
    }

    fn send(&mut self, at_ms: i64, ask: Rc<Ask>, number: usize, from: String) {
        let one = &ask.tries[number];
        let opening = self.opening(at_ms, &ask, one, from);
        if number == 0 {
            self.admitted(&ask, one);
        }
        let now = at_ms.div_euclid(1_000);
        let requirement = self.pricing.requirement(one);
        let granted = self
            .balances
            .reserve(&opening.dims(), requirement, now, true);
        let grant = match granted {
            Ok(grant) => grant,
            Err(denied) => return self.refuse(&ask, one, number, &denied),
        };
        let opening = Arc::new(Opening {
            bound: grant.amount,
            bound_tokens: grant.tokens_bound,
            ..opening
        });
        self.telemetry.attempt_opened();
        if one.stream {
            self.telemetry.stream_opened();
        }
        self.works.push(StoreWork::Open(opening.clone()));
        let ends = at_ms + i64::try_from(one.took_ms).unwrap_or(0);
        let sent = Sent {
            ask: ask.clone(),
            number,
            opening,
            grant,
        };
        self.plan(ends, Happening::Ended(Box::new(sent)));
    }

    fn opening(&self, at_ms: i64, ask: &Ask, one: &Try, escalated_from: String) -> Opening {
        let owned = |(tag, value): &(&str, &str)| ((*tag).to_owned(), (*value).to_owned());
        let spoken = APPS.iter().position(|app| app.key == ask.app.key);
        let dialect = dialect::ALL[spoken.unwrap_or(0) % 2].name();
        Opening {
            request: ask.id.clone(),
            attempt: one.id.clone(),
            at_ms,
            counted_ms: at_ms,
            key: self.keys.get(ask.app.key).map(|key| key.id),
            organisation: self.teams.get(ask.app.team).cloned().unwrap_or_default(),
            team: ask.app.team.to_owned(),
            session: ask.session.clone(),
            user: String::new(),
            user_name: String::new(),
            tags: ask.app.tags.iter().map(owned).collect(),
            provider: one.model.provider.to_owned(),
            model: one.model.name.to_owned(),
            effort: one.effort,
            tier: one.model.tier,
            task: ask.job.task.to_owned(),
            rule: ask.job.rule.to_owned(),
            difficulty_milli: ask.difficulty_milli,
            dialect: dialect.to_owned(),
            simulated: true,
            escalated_from,
            bound: PicoUsd::ZERO,
            bound_tokens: 0,
            catalogue: self.catalogue.clone(),
        }
    }

    /// What is counted of a request before it goes out.
    fn admitted(&mut self, ask: &Ask, one: &Try) {
        self.told.requests += 1;
        if ask.job.rule.starts_with("private") {
            let classes = [
                Class::Emails,
                Class::Ibans,
                Class::Ids,
                Class::Own,
                Class::Phones,
            ];
            let class = classes[usize::try_from(self.dice.between(0, 4)).unwrap_or(0)];
            self.telemetry.found(Classes::default().with(class));
        }
        if ask.app.manner != AppManner::ByName {
            self.telemetry.decided(&Decided {
                asked: ask.asked,
                rule: ask.job.rule,
                task: ask.job.task,
                tier: one.model.tier,
                unknown: None,
                noted: None,
            });
        }
        if self.dice.between(1, 140) == 1 {
            let [from, to] = [1, 0].map(|n: usize| dialect::ALL[n].name());
            self.telemetry.dropped(from, to, 1);
        }
    }

    fn refuse(&mut self, ask: &Ask, one: &Try, number: usize, denied: &Denied) {
        let Denied::Full(full) = denied else { return };
        let Full { counter, cap, .. } = &**full;
        let cap = cap.as_ref().map_or("", |cap| &*cap.name);
        self.telemetry.cap_refused(&CapRefusal {
            cap,
            scope: counter.scope.class(),
            only_reserved: full.only_reserved(),
        });
        if one.part.is_some() {
            self.telemetry.probed(one.model.name, "no_room");
        }
        // An answer that was tried before is told instead.
        if number == 0 {
            self.told.refused += 1;
            let error = Error::new(Kind::CapReached, "a cap has no room").code("flyball_cap");
            self.telemetry.refused(&Refusal {
                request: &ask.id,
                error: &error,
            });
        }
    }

    fn close(&mut self, at_ms: i64, sent: &Sent) {
        let one = &sent.ask.tries[sent.number];
        let (opening, capped) = (&sent.opening, sent.grant.capped);
        let priced = self
            .pricing
            .close(opening, one, sent.ask.app.manner, capped);
        let closing = &priced.closing;
        let (dims, spend) = (opening.dims(), closing.spend());
        let postings = self.balances.close(&sent.grant, &dims, &spend);
        self.figures.add(opening, closing, &postings);
        self.told.attempts += 1;
        self.told.cost += closing.cost;
        self.told.baseline += closing.baseline;
        if let Some(charged) = &priced.charged {
            if one.model.tier == Tier::Reasoning && closing.basis == Basis::Reported {
                let compared = match self.dice.between(1, 900) {
                    1 => Compared::Above,
                    2 => Compared::Below,
                    _ => Compared::Equal,
                };
                self.telemetry.compared(one.model.provider, compared);
            }
            if charged.unpriced {
                self.telemetry.unpriced_tier(one.model.provider);
            }
            self.telemetry.bound_excess(closing.excess);
        }
        self.measure(sent, &priced.closing, priced.reasoning);
        let closing = Box::new(priced.closing);
        self.works
            .push(StoreWork::Close(opening.clone(), closing, postings));
        self.after(at_ms, sent);
    }

    /// The metrics of an attempt.
    fn measure(&mut self, sent: &Sent, closing: &Closing, reasoning: PicoUsd) {
        let one = &sent.ask.tries[sent.number];
        // Most are near the least, a few take long.
        let busy = load(sent.opening.at_ms);
        let mut micros = |low: u64, high: u64| {
            let rare = self.dice.between(0, 1_000).pow(4) / 1_000_000_000;
            Duration::from_micros((low + (high - low) * rare / 1_000) * busy / 100)
        };
        let phases = [
            ("read", micros(15, 700)),
            ("decide", micros(45, 600)),
            ("reserve", micros(12, 2_600)),
        ];
        let settled = ("settle", micros(20, 450));
        let added = phases.iter().map(|(_, took)| *took).sum();
        let phases: Vec<_> = match one.stream {
            true => phases.to_vec(),
            false => phases.into_iter().chain([settled]).collect(),
        };
        let visible = one.usage.output.saturating_sub(one.usage.reasoning);
        let decoding = Duration::from_millis(one.took_ms.saturating_sub(one.first_ms));
        let answered = one.basis != Basis::Void && one.status == 200;
        let pace = (one.stream && answered && !decoding.is_zero())
            .then(|| visible as f64 / decoding.as_secs_f64());
        self.telemetry.attempt(&AttemptClosed {
            opening: &sent.opening,
            closing,
            effort: one.effort,
            reasoning_cost: reasoning,
            graded: true,
            probe: one.part,
            capped: sent.grant.capped,
            stream: one.stream,
            status: one.status,
            ttft: (one.stream && answered).then(|| Duration::from_millis(one.first_ms)),
            decode_tokens_per_second: pace,
            total: Duration::from_millis(one.took_ms) + added,
            added,
            phases: &phases,
            traced: None,
        });
        if one.stream {
            self.telemetry.stream_closed();
        }
    }

    /// What follows from an attempt that has ended.
    fn after(&mut self, at_ms: i64, sent: &Sent) {
        let (ask, one) = (&sent.ask, &sent.ask.tries[sent.number]);
        let provider = one.model.provider;
        match (one.outcome, one.status) {
            (Outcome::UpstreamError | Outcome::RefusedUpstream, status) => {
                self.telemetry.upstream_status(provider, status);
            }
            (Outcome::NotSent, _) => self.provider_failed(provider, Kind::UpstreamFailed),
            (Outcome::StreamCut, _) => self.provider_failed(provider, Kind::UpstreamFailed),
            (Outcome::UpstreamTimeout, _) => self.provider_failed(provider, Kind::UpstreamTimeout),
            _ => {}
        }
        match one.part {
            Some(ProbePart::Stood) => self.telemetry.probed(one.model.name, "stands"),
            Some(ProbePart::Escalated) => self.telemetry.probed(one.model.name, "escalated"),
            _ => {}
        }
        let is_check = one.part == Some(ProbePart::Check);
        if !one.failed() && one.outcome != Outcome::Escalated && !is_check {
            self.telemetry.served(ask.asked, one.model.name, || false);
            if let Some(change) = ask.turn {
                self.telemetry.turn(change);
            }
        }
        if sent.number + 1 < ask.tries.len() {
            // What is asked about an answer takes nothing's place; what comes after it replaces that answer.
            let next_is_check = ask.tries[sent.number + 1].part == Some(ProbePart::Check);
            let from = match (next_is_check, is_check) {
                (true, _) => String::new(),
                (false, true) => ask.tries[sent.number - 1].id.clone(),
                (false, false) => one.id.clone(),
            };
            self.plan(
                at_ms + 1,
                Happening::Try(ask.clone(), sent.number + 1, from),
            );
        }
    }

    fn provider_failed(&self, provider: &str, kind: Kind) {
        let error = Error::new(kind, "the provider failed");
        self.telemetry.upstream_error(provider, &error);
    }

    /// Makes what was gathered durable.
    pub(super) fn commit(&mut self) -> Result<(), String> {
        let works: Vec<&StoreWork> = self.works.iter().collect();
        self.store
            .commit(&works)
            .map_err(|why| format!("the books cannot be written: {why}"))?;
        self.works.clear();
        Ok(())
    }
}

/// What an app's request costs without any cap, for whoever sets caps.
pub(super) fn cost_of(pricing: &Pricing, app: &App, ask: &Ask) -> PicoUsd {
    let mut sum = PicoUsd::ZERO;
    for one in &ask.tries {
        let requirement = pricing.requirement(one);
        let opening = Opening {
            attempt: one.id.clone(),
            at_ms: ask.at_ms,
            model: one.model.name.to_owned(),
            effort: one.effort,
            tier: one.model.tier,
            bound: PicoUsd(requirement.amount(Measure::Usd, requirement.tokens)),
            ..Opening::default()
        };
        sum += pricing.close(&opening, one, app.manner, true).closing.cost;
    }
    sum
}
