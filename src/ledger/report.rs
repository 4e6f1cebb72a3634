//! Reports: what was spent, saved and lost, by who and why, over any time and in any time zone.

pub mod plan;

use super::record::{Cause, Closed, Opening};
use super::rollup::{self, Amounts, Grain, Group};
use super::store::{Kept, Store};
use super::window::{Window, Zone};
use crate::error::Error;
use crate::money::PicoUsd;
use plan::{Cuts, Piece, Source};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fmt;

/// Rows of a report. Those that cost least are one row beyond that.
pub const ROWS_MAX: usize = 10_000;
/// Different rows that are added up; what comes after them is in the row `other`.
const APART_MAX: usize = 200_000;
/// What the rows that are not shown are called.
const OTHER: &str = "other";

/// By what a report tells attempts apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// The virtual key, by name; `local` in open mode.
    Key,
    /// The key's team.
    Team,
    /// The organisation of the team.
    Organisation,
    /// The caller's session.
    Session,
    /// The end user, as the books name it.
    User,
    /// The rule that decided.
    Rule,
    /// The task.
    Task,
    /// The model's tier.
    Tier,
    /// The effort.
    Effort,
    /// The model.
    Model,
    /// The provider.
    Provider,
    /// The value of a tag.
    Tag(String),
    /// How the attempt ended.
    Outcome,
    /// The service tier that priced it.
    ServiceTier,
    /// The local day.
    Day,
    /// The local hour.
    Hour,
    /// The local month.
    Month,
    /// Whether the model was a simulated one.
    Simulated,
}

impl Dimension {
    /// Those with a name of their own; beside them there is `tag:NAME`.
    const NAMED: [(&'static str, Dimension); 17] = [
        ("key", Dimension::Key),
        ("team", Dimension::Team),
        ("organisation", Dimension::Organisation),
        ("session", Dimension::Session),
        ("user", Dimension::User),
        ("rule", Dimension::Rule),
        ("task", Dimension::Task),
        ("tier", Dimension::Tier),
        ("effort", Dimension::Effort),
        ("model", Dimension::Model),
        ("provider", Dimension::Provider),
        ("outcome", Dimension::Outcome),
        ("service_tier", Dimension::ServiceTier),
        ("day", Dimension::Day),
        ("hour", Dimension::Hour),
        ("month", Dimension::Month),
        ("simulated", Dimension::Simulated),
    ];

    /// The dimension of this name.
    ///
    /// # Errors
    /// There is none; says which there are.
    pub fn parse(name: &str) -> Result<Dimension, String> {
        if let Some(tag) = name.strip_prefix("tag:").filter(|tag| !tag.is_empty()) {
            return Ok(Dimension::Tag(tag.to_owned()));
        }
        let found = Dimension::NAMED.iter().find(|(n, _)| *n == name);
        found.map(|(_, d)| d.clone()).ok_or_else(|| {
            let names: Vec<&str> = Dimension::NAMED.iter().map(|(n, _)| *n).collect();
            format!(
                "\"{name}\" is nothing that a report can be split by; it may be {} or tag:NAME",
                names.join(", ")
            )
        })
    }

    /// The dimensions of a list like `team,key`.
    ///
    /// # Errors
    /// One is not known, or stands twice.
    pub fn parse_list(names: &str) -> Result<Vec<Dimension>, String> {
        let mut found = Vec::new();
        for name in names.split(',').map(str::trim).filter(|n| !n.is_empty()) {
            let dimension = Dimension::parse(name)?;
            if found.contains(&dimension) {
                return Err(format!("\"{name}\" stands twice in \"{names}\""));
            }
            found.push(dimension);
        }
        Ok(found)
    }

    /// The window of time that it tells apart.
    fn window(&self) -> Option<Window> {
        match self {
            Dimension::Hour => Some(Window::Hour),
            Dimension::Day => Some(Window::Day),
            Dimension::Month => Some(Window::Month),
            _ => None,
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Dimension::Tag(tag) = self {
            return write!(f, "tag:{tag}");
        }
        let found = Dimension::NAMED.iter().find(|(_, d)| d == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}

/// What is asked of the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The first instant that counts, milliseconds since 1970. An attempt counts when it was admitted.
    pub from_ms: i64,
    /// The first that does not any more.
    pub to_ms: i64,
    /// Where days and hours begin.
    pub zone: Zone,
    /// By what it is split; in one row where there is nothing.
    pub by: Vec<Dimension>,
    /// Only attempts that have these values.
    pub only: Vec<(Dimension, String)>,
    /// So many rows at most, and one for the rest.
    pub rows_max: usize,
}

impl Query {
    /// Everything between two instants, in UTC, in as many rows as there may be.
    #[must_use]
    pub fn between(from_ms: i64, to_ms: i64, by: Vec<Dimension>) -> Query {
        Query {
            from_ms,
            to_ms,
            zone: Zone::utc(),
            by,
            only: Vec::new(),
            rows_max: ROWS_MAX,
        }
    }
}

impl Query {
    fn all(&self) -> impl Iterator<Item = &Dimension> {
        self.by.iter().chain(self.only.iter().map(|(d, _)| d))
    }

    /// The finest window of time that it tells apart.
    fn window(&self) -> Option<Window> {
        self.all().filter_map(Dimension::window).min()
    }

    /// Sessions and users stand in attempts alone.
    fn by_attempt(&self) -> bool {
        self.all()
            .any(|d| matches!(d, Dimension::Session | Dimension::User))
    }

    fn cuts(&self) -> Cuts<'_> {
        Cuts {
            between: self.from_ms..self.to_ms,
            window: self.window(),
            zone: &self.zone,
            by_attempt: self.by_attempt(),
        }
    }

    /// What is less exact because attempts were deleted.
    fn notes(&self, kept: &Kept) -> Vec<String> {
        if self.from_ms >= kept.from_ms || kept.first_ms.is_none_or(|first| first >= kept.from_ms) {
            return Vec::new();
        }
        let day = Zone::utc().name_of(Window::Day, kept.from_ms.div_euclid(1_000));
        let mut notes = Vec::new();
        let odd = |ms: i64| ms < kept.from_ms && Grain::Day.floor(ms) != ms;
        let local = self.window().is_some() && self.zone != Zone::utc();
        if odd(self.from_ms) || odd(self.to_ms) || local || self.window() == Some(Window::Hour) {
            notes.push(format!(
                "Before {day} only sums of whole days in UTC are kept; each counts where it begins."
            ));
        }
        if self.by_attempt() {
            notes.push(format!(
                "Before {day} sessions and users are not known any more."
            ));
        }
        notes
    }
}

/// What a row of a report tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// What its attempts add up to.
    pub sums: Amounts,
    /// What was saved, in the order of [`Cause::SAVINGS`].
    pub saved_by: [PicoUsd; Cause::SAVINGS.len()],
    /// What was lost, in the order of [`Cause::LOSSES`].
    pub lost_by: [PicoUsd; Cause::LOSSES.len()],
}

impl Figures {
    fn of(group: &Group<'_>, sums: &Amounts) -> Figures {
        let mut figures = Figures {
            sums: *sums,
            ..Figures::default()
        };
        let saved = figures.saved();
        let cause = Cause::parse(&group.cause);
        let place = |causes: &[Cause]| causes.iter().position(|c| Some(*c) == cause);
        if let Some(place) = place(&Cause::SAVINGS) {
            figures.saved_by[place] = saved;
        }
        if let Some(place) = place(&Cause::LOSSES) {
            figures.lost_by[place] = PicoUsd::ZERO - saved;
        }
        figures
    }

    fn add(&mut self, other: &Figures) {
        self.sums.add(&other.sums);
        let all = self.saved_by.iter_mut().chain(&mut self.lost_by);
        for (sum, other) in all.zip(other.saved_by.iter().chain(&other.lost_by)) {
            *sum += *other;
        }
    }

    /// What was spent.
    #[must_use]
    pub fn cost(&self) -> PicoUsd {
        PicoUsd(self.sums.cost)
    }

    /// What the baseline would have cost.
    #[must_use]
    pub fn baseline(&self) -> PicoUsd {
        PicoUsd(self.sums.baseline)
    }

    /// What was saved, net of what was lost.
    #[must_use]
    pub fn saved(&self) -> PicoUsd {
        self.baseline() - self.cost()
    }

    /// What would have been saved at most: had every baseline thought as much as is expected of it, where that was not seen.
    #[must_use]
    pub fn saved_most(&self) -> PicoUsd {
        self.saved() + PicoUsd(self.sums.baseline_extra)
    }

    /// The figures as JSON, in the shape that `flyball report --json` and the admin API share.
    #[must_use]
    pub fn json(&self) -> Map<String, Value> {
        let count = |n: i128| i64::try_from(n).unwrap_or(i64::MAX);
        let by = |causes: &[Cause], sums: &[PicoUsd]| -> Value {
            let pairs = causes.iter().zip(sums);
            let pairs = pairs.map(|(c, sum)| (c.name().to_owned(), json!(sum.usd_text())));
            Value::Object(pairs.collect())
        };
        let s = &self.sums;
        let all = json!({
            "requests": count(s.requests), "attempts": count(s.attempts),
            "tokens": {"input": count(s.input), "cached": count(s.cached), "cache_write": count(s.cache_write), "output": count(s.output), "reasoning": count(s.reasoning)},
            "cost_usd": self.cost().usd_text(), "baseline_usd": self.baseline().usd_text(), "saved_usd": self.saved().usd_text(), "saved_most_usd": self.saved_most().usd_text(),
            "saved_by": by(&Cause::SAVINGS, &self.saved_by), "lost_by": by(&Cause::LOSSES, &self.lost_by),
            "cached_usd": PicoUsd(s.cache_discount).usd_text(), "provisional_usd": PicoUsd(s.provisional).usd_text(),
        });
        match all {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}

/// One row of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The value of each dimension, in the order of the query; nothing where an attempt has none.
    pub values: Vec<String>,
    /// What its attempts add up to.
    pub figures: Figures,
}

/// What the books say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What was asked.
    pub query: Query,
    /// The rows: by time where it is split by time, else the dearest first.
    pub rows: Vec<Row>,
    /// All of them together.
    pub total: Figures,
    /// Some of the answers were simulated, so that their money is none.
    pub simulated: bool,
    /// What should be known about it.
    pub notes: Vec<String>,
}

impl Report {
    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let instant = |ms| {
            jiff::Timestamp::from_millisecond(ms).map_or(Value::Null, |t| json!(t.to_string()))
        };
        let by: Vec<String> = self.query.by.iter().map(ToString::to_string).collect();
        let row = |row: &Row| {
            let values = by.iter().cloned().zip(row.values.iter().map(|v| json!(v)));
            let figures = row.figures.json();
            Value::Object(values.chain(figures).collect())
        };
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        json!({
            "from": instant(self.query.from_ms), "to": instant(self.query.to_ms), "zone": self.query.zone.name(),
            "by": by, "rows": rows, "total": self.total.json(), "simulated": self.simulated, "notes": self.notes,
        })
    }
}

/// Whose attempt it was, as far as sums do not tell.
#[derive(Clone, Copy, Default)]
struct Whose<'a> {
    session: &'a str,
    user: &'a str,
}

/// Adds up what a store says.
struct Tally<'q> {
    query: &'q Query,
    keys: HashMap<i64, String>,
    rows: HashMap<Vec<String>, Figures>,
    total: Figures,
    simulated: bool,
    /// Values that came when there were too many.
    beyond: bool,
    time: Vec<Span>,
}

/// A window of time with its name, the last that was looked up.
#[derive(Clone, Debug, Default)]
struct Span {
    from_ms: i64,
    to_ms: i64,
    name: String,
}

impl<'q> Tally<'q> {
    /// Nothing was added yet.
    fn of(store: &mut dyn Store, query: &'q Query) -> Result<Tally<'q>, Error> {
        let keys = store.keys()?.into_iter().map(|k| (k.id, k.name));
        Ok(Tally {
            query,
            keys: keys.collect(),
            rows: HashMap::new(),
            total: Figures::default(),
            simulated: false,
            beyond: false,
            time: Vec::new(),
        })
    }

    /// Whether it is asked about at all.
    fn counts(&mut self, at_ms: i64, whose: Whose<'_>, group: &Group<'_>) -> bool {
        let mut only = self.query.only.iter();
        only.all(|(dimension, wanted)| self.value(dimension, at_ms, whose, group) == *wanted)
    }

    fn add(&mut self, at_ms: i64, whose: Whose<'_>, group: &Group<'_>, sums: &Amounts) {
        if !self.counts(at_ms, whose, group) {
            return;
        }
        let query = self.query;
        let figures = Figures::of(group, sums);
        self.total.add(&figures);
        self.simulated |= group.simulated;
        let mut values: Vec<String> = Vec::with_capacity(query.by.len());
        for dimension in &query.by {
            values.push(self.value(dimension, at_ms, whose, group));
        }
        if let Some(row) = self.rows.get_mut(&values) {
            return row.add(&figures);
        }
        if self.rows.len() >= APART_MAX {
            self.beyond = true;
            values.fill(OTHER.to_owned());
        }
        self.rows.entry(values).or_default().add(&figures);
    }

    fn value(&mut self, by: &Dimension, at_ms: i64, whose: Whose<'_>, group: &Group<'_>) -> String {
        match by {
            Dimension::Key => match self.keys.get(&group.key) {
                Some(name) => name.clone(),
                None if group.key == 0 => "local".to_owned(),
                None => group.key.to_string(),
            },
            Dimension::Team => group.team.to_string(),
            Dimension::Organisation => group.organisation.to_string(),
            Dimension::Session => whose.session.to_owned(),
            Dimension::User => whose.user.to_owned(),
            Dimension::Rule => group.rule.to_string(),
            Dimension::Task => group.task.to_string(),
            Dimension::Tier => group.tier.to_string(),
            Dimension::Effort => group.effort.to_string(),
            Dimension::Model => group.model.to_string(),
            Dimension::Provider => group.provider.to_string(),
            Dimension::Outcome => group.outcome.to_string(),
            Dimension::ServiceTier => group.service_tier.to_string(),
            Dimension::Simulated => group.simulated.to_string(),
            Dimension::Tag(tag) => {
                let found = group.tags.iter().find(|(name, _)| name == tag);
                found.map(|(_, value)| value.clone()).unwrap_or_default()
            }
            Dimension::Day | Dimension::Hour | Dimension::Month => by
                .window()
                .map_or_else(String::new, |w| self.time(w, at_ms)),
        }
    }

    /// The name of the window in which an instant lies: what comes one after the other mostly lies in the same.
    fn time(&mut self, window: Window, at_ms: i64) -> String {
        let zone = &self.query.zone;
        let place = match window {
            Window::Hour => 0,
            Window::Day => 1,
            _ => 2,
        };
        if self.time.len() <= place {
            self.time.resize(place + 1, Span::default());
        }
        let span = &mut self.time[place];
        if !(span.from_ms..span.to_ms).contains(&at_ms) {
            let id = window.id(zone, at_ms.div_euclid(1_000));
            let begins = window.begins_at(zone, id).unwrap_or(0);
            let ends = window.ends_at(zone, id).unwrap_or(i64::MAX / 1_000);
            *span = Span {
                from_ms: begins.saturating_mul(1_000),
                to_ms: ends.saturating_mul(1_000),
                name: zone.name_of(window, begins),
            };
        }
        span.name.clone()
    }

    fn report(self, notes: Vec<String>) -> Report {
        let query = self.query;
        let mut notes = notes;
        let mut rows: Vec<Row> = self
            .rows
            .into_iter()
            .map(|(values, figures)| Row { values, figures })
            .collect();
        rows.sort_by(|a, b| {
            let dearest = (b.figures.sums.cost, b.figures.sums.attempts);
            dearest
                .cmp(&(a.figures.sums.cost, a.figures.sums.attempts))
                .then_with(|| a.values.cmp(&b.values))
        });
        if rows.len() > query.rows_max || self.beyond {
            fold(&mut rows, query, &mut notes);
        }
        let times: Vec<usize> = (0..query.by.len())
            .filter(|n| query.by[*n].window().is_some())
            .collect();
        // A stable sort: within a day the dearest stays first.
        rows.sort_by(|a, b| {
            let of = |row: &Row| {
                times
                    .iter()
                    .map(|n| row.values[*n].clone())
                    .collect::<Vec<_>>()
            };
            of(a).cmp(&of(b))
        });
        Report {
            query: query.clone(),
            rows,
            total: self.total,
            simulated: self.simulated,
            notes,
        }
    }
}

/// Leaves the dearest rows and one for the rest.
fn fold(rows: &mut Vec<Row>, query: &Query, notes: &mut Vec<String>) {
    let rest = rows.split_off(query.rows_max.min(rows.len()));
    let mut other = Figures::default();
    let mut folded = rest.len();
    for row in rest {
        other.add(&row.figures);
    }
    let name = vec![OTHER.to_owned(); query.by.len()];
    if let Some(place) = rows.iter().position(|row| row.values == name) {
        other.add(&rows.remove(place).figures);
        folded += 1;
    }
    rows.push(Row {
        values: name,
        figures: other,
    });
    notes.push(format!(
        "There are more than {} rows; the row \"{OTHER}\" holds the {folded} that cost least.",
        query.rows_max
    ));
}

/// Reads a report from the books, all of it of one moment.
///
/// # Errors
/// The store cannot be read.
pub fn read(store: &mut dyn Store, query: &Query) -> Result<Report, Error> {
    store.hold()?;
    let report = read_held(store, query)?;
    store.release()?;
    Ok(report)
}

/// Calls `each` with every attempt that has ended and that is asked about, oldest first. What it is split by does not matter. Returns from
/// when on attempts are kept, where older ones were asked for, in milliseconds since 1970.
///
/// # Errors
/// The store cannot be read.
pub fn attempts(
    store: &mut dyn Store,
    query: &Query,
    each: &mut dyn FnMut(&Closed<'_>),
) -> Result<Option<i64>, Error> {
    store.hold()?;
    let mut tally = Tally::of(store, query)?;
    let kept = store.kept()?;
    store.attempts(query.from_ms..query.to_ms, &mut |attempt| {
        if let Some(closed) = attempt.closed() {
            let (group, _) = rollup::of(&closed);
            let Opening {
                at_ms,
                session,
                user,
                ..
            } = &attempt.opening;
            if tally.counts(*at_ms, Whose { session, user }, &group) {
                each(&closed);
            }
        }
        true
    })?;
    store.release()?;
    let older = kept.first_ms.is_some_and(|first| first < kept.from_ms);
    Ok((older && query.from_ms < kept.from_ms).then_some(kept.from_ms))
}

fn read_held(store: &mut dyn Store, query: &Query) -> Result<Report, Error> {
    let mut tally = Tally::of(store, query)?;
    let kept = store.kept()?;
    let whole = query.window().is_none();
    for Piece { source, between } in query.cuts().plan(&kept) {
        match source {
            Source::Sums(grain) => {
                store.rollups(grain, between, whole, &mut |at_ms, group, sums| {
                    tally.add(at_ms, Whose::default(), group, sums);
                })?
            }
            Source::Attempts => store.attempts(between, &mut |attempt| {
                if let Some(closed) = attempt.closed() {
                    let (group, sums) = rollup::of(&closed);
                    let Opening {
                        at_ms,
                        session,
                        user,
                        ..
                    } = &attempt.opening;
                    tally.add(*at_ms, Whose { session, user }, &group, &sums);
                }
                true
            })?,
        }
    }
    let notes = query.notes(&kept);
    Ok(tally.report(notes))
}
