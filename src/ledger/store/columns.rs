//! The columns of an attempt, in one list for both stores: each with how it is written from the record and how it is read back.
//!
//! A new column is a field of the record, a line here, and a step in each store's migrations.

use crate::arm::{Effort, Tier};
use crate::chat::ServiceTier;
use crate::ledger::record::{Attempt, Basis, Cause, Closing, Opening, Outcome, Shown};
use crate::money::PicoUsd;
use crate::probe::evidence::Sign;
use std::borrow::Cow;

/// What a column holds. One whose kind says `Maybe` may be empty, also in a row that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnKind {
    Integer,
    MaybeInteger,
    Truth,
    Text,
    MaybeText,
    Money,
    MaybeMoney,
    /// Pairs of texts, as JSON.
    Pairs,
}

/// What one column of one row holds, on its way to a store or from it. A store gives what the column's kind says.
#[derive(Debug)]
pub(super) enum ColumnValue<'a> {
    Nothing,
    Integer(i64),
    Truth(bool),
    Text(Cow<'a, str>),
    Money(PicoUsd),
    Pairs(Cow<'a, [(String, String)]>),
}

/// One column of the table of attempts.
pub(super) struct Column<T> {
    pub(super) name: &'static str,
    pub(super) kind: ColumnKind,
    pub(super) write: fn(&T) -> ColumnValue<'_>,
    read: fn(&mut T, ColumnValue<'_>),
}

impl<T> Column<T> {
    const fn new(
        name: &'static str,
        kind: ColumnKind,
        write: fn(&T) -> ColumnValue<'_>,
        read: fn(&mut T, ColumnValue<'_>),
    ) -> Column<T> {
        Column {
            name,
            kind,
            write,
            read,
        }
    }
}

/// Written when an attempt opens.
#[rustfmt::skip]
pub(super) const OPENING: [Column<Opening>; 23] = [
    Column::new("attempt", ColumnKind::Text, |o| text(&o.attempt), |o, v| o.attempt = v.text()),
    Column::new("request", ColumnKind::Text, |o| text(&o.request), |o, v| o.request = v.text()),
    Column::new("at_ms", ColumnKind::Integer, |o| ColumnValue::Integer(o.at_ms), |o, v| o.at_ms = v.integer()),
    Column::new("counted_ms", ColumnKind::Integer, |o| ColumnValue::Integer(o.counted_ms), |o, v| o.counted_ms = v.integer()),
    Column::new("key", ColumnKind::MaybeInteger, |o| o.key.map_or(ColumnValue::Nothing, ColumnValue::Integer), |o, v| o.key = v.maybe_integer()),
    Column::new("organisation", ColumnKind::Text, |o| text(&o.organisation), |o, v| o.organisation = v.text()),
    Column::new("team", ColumnKind::Text, |o| text(&o.team), |o, v| o.team = v.text()),
    Column::new("session", ColumnKind::Text, |o| text(&o.session), |o, v| o.session = v.text()),
    Column::new("end_user", ColumnKind::Text, |o| text(&o.user), |o, v| o.user = v.text()),
    Column::new("tags", ColumnKind::Pairs, |o| ColumnValue::Pairs(Cow::Borrowed(&o.tags)), |o, v| o.tags = v.pairs()),
    Column::new("provider", ColumnKind::Text, |o| text(&o.provider), |o, v| o.provider = v.text()),
    Column::new("model", ColumnKind::Text, |o| text(&o.model), |o, v| o.model = v.text()),
    Column::new("effort", ColumnKind::Text, |o| text(o.effort.name()), |o, v| o.effort = Effort::parse(&v.text()).unwrap_or_default()),
    Column::new("tier", ColumnKind::Text, |o| text(o.tier.name()), |o, v| o.tier = Tier::parse(&v.text()).unwrap_or_default()),
    Column::new("task", ColumnKind::Text, |o| text(&o.task), |o, v| o.task = v.text()),
    Column::new("rule", ColumnKind::Text, |o| text(&o.rule), |o, v| o.rule = v.text()),
    Column::new("difficulty_milli", ColumnKind::Integer, |o| ColumnValue::Integer(o.difficulty_milli), |o, v| o.difficulty_milli = v.integer()),
    Column::new("dialect", ColumnKind::Text, |o| text(&o.dialect), |o, v| o.dialect = v.text()),
    Column::new("simulated", ColumnKind::Truth, |o| ColumnValue::Truth(o.simulated), |o, v| o.simulated = v.truth()),
    Column::new("escalated_from", ColumnKind::Text, |o| text(&o.escalated_from), |o, v| o.escalated_from = v.text()),
    Column::new("bound", ColumnKind::Money, |o| ColumnValue::Money(o.bound), |o, v| o.bound = v.money()),
    Column::new("bound_tokens", ColumnKind::Integer, |o| count(o.bound_tokens), |o, v| o.bound_tokens = v.count()),
    Column::new("catalogue", ColumnKind::Text, |o| text(&o.catalogue), |o, v| o.catalogue = v.text()),
];

/// Written when it closes, and empty until then. The first of them says whether it has closed.
#[rustfmt::skip]
pub(super) const CLOSING: [Column<Closing>; 22] = [
    Column::new("outcome", ColumnKind::MaybeText, |c| text(c.outcome.name()), |c, v| c.outcome = Outcome::parse(&v.text()).unwrap_or(Outcome::UpstreamError)),
    Column::new("basis", ColumnKind::Text, |c| text(c.basis.name()), |c, v| c.basis = Basis::parse(&v.text()).unwrap_or(Basis::Bound)),
    Column::new("cost", ColumnKind::Money, |c| ColumnValue::Money(c.cost), |c, v| c.cost = v.money()),
    Column::new("baseline", ColumnKind::Money, |c| ColumnValue::Money(c.baseline), |c, v| c.baseline = v.money()),
    Column::new("reported_cost", ColumnKind::MaybeMoney, |c| c.usage.reported_cost.map_or(ColumnValue::Nothing, ColumnValue::Money), |c, v| c.usage.reported_cost = v.maybe_money()),
    Column::new("excess", ColumnKind::Money, |c| ColumnValue::Money(c.excess), |c, v| c.excess = v.money()),
    Column::new("input", ColumnKind::Integer, |c| count(c.usage.input), |c, v| c.usage.input = v.count()),
    Column::new("cached", ColumnKind::Integer, |c| count(c.usage.cached), |c, v| c.usage.cached = v.count()),
    Column::new("cache_write", ColumnKind::Integer, |c| count(c.usage.cache_write), |c, v| c.usage.cache_write = v.count()),
    Column::new("cache_write_long", ColumnKind::Integer, |c| count(c.usage.cache_write_long), |c, v| c.usage.cache_write_long = v.count()),
    Column::new("output", ColumnKind::Integer, |c| count(c.usage.output), |c, v| c.usage.output = v.count()),
    Column::new("reasoning", ColumnKind::Integer, |c| count(c.usage.reasoning), |c, v| c.usage.reasoning = v.count()),
    Column::new("tokens", ColumnKind::Integer, |c| count(c.tokens), |c, v| c.tokens = v.count()),
    // Empty in rows from before it was kept, and no word where nothing was priced.
    Column::new("service_tier", ColumnKind::MaybeText, |c| text(c.service_tier.map_or("", ServiceTier::name)), |c, v| c.service_tier = ServiceTier::parse(&v.text())),
    // Empty where nothing was looked at. The sign comes first: without it the others say nothing.
    Column::new("evidence", ColumnKind::MaybeText, |c| c.shown.map_or(ColumnValue::Nothing, |s| text(s.sign.name())), |c, v| c.shown = Sign::parse(&v.text()).map(Shown::of)),
    Column::new("evidence_ppm", ColumnKind::MaybeInteger, |c| c.shown.and_then(|s| s.probability_ppm).map_or(ColumnValue::Nothing, count), |c, v| if let Some(shown) = &mut c.shown { shown.probability_ppm = v.maybe_count() }),
    Column::new("chance_milli", ColumnKind::MaybeInteger, |c| c.shown.map_or(ColumnValue::Nothing, |s| count(s.chance_milli)), |c, v| if let Some(shown) = &mut c.shown { shown.chance_milli = v.count() }),
    // These five are empty in rows from before they were kept.
    Column::new("baseline_model", ColumnKind::MaybeText, |c| text(&c.baseline_model), |c, v| c.baseline_model = v.text()),
    Column::new("baseline_effort", ColumnKind::MaybeText, |c| text(c.baseline_effort.name()), |c, v| c.baseline_effort = Effort::parse(&v.text()).unwrap_or_default()),
    Column::new("cause", ColumnKind::MaybeText, |c| text(c.cause.map_or("", Cause::name)), |c, v| c.cause = Cause::parse(&v.text())),
    Column::new("cache_discount", ColumnKind::MaybeMoney, |c| ColumnValue::Money(c.cache_discount), |c, v| c.cache_discount = v.money()),
    Column::new("baseline_extra", ColumnKind::MaybeMoney, |c| ColumnValue::Money(c.baseline_extra), |c, v| c.baseline_extra = v.money()),
];

/// Where an attempt's row ends in what [`selected`] selects: then come the key's name, what a bill says, and whether another attempt
/// has come after it.
const KEY_NAME: usize = OPENING.len() + CLOSING.len();

fn text(text: &str) -> ColumnValue<'_> {
    ColumnValue::Text(Cow::Borrowed(text))
}

/// No store counts past 2^63.
fn count(n: u64) -> ColumnValue<'static> {
    ColumnValue::Integer(i64::try_from(n).unwrap_or(i64::MAX))
}

/// The names of these columns, for an INSERT.
pub(super) fn names<T>(columns: &[Column<T>]) -> String {
    let names: Vec<&str> = columns.iter().map(|c| c.name).collect();
    names.join(", ")
}

/// One placeholder for each of them, numbered from 1.
pub(super) fn places<T>(
    columns: &[Column<T>],
    place: impl Fn(usize, ColumnKind) -> String,
) -> String {
    let places = columns.iter().zip(1..).map(|(c, n)| place(n, c.kind));
    places.collect::<Vec<_>>().join(", ")
}

/// `name = placeholder` for each of them, numbered from 1, for an UPDATE.
pub(super) fn sets<T>(
    columns: &[Column<T>],
    place: impl Fn(usize, ColumnKind) -> String,
) -> String {
    let sets = columns
        .iter()
        .zip(1..)
        .map(|(c, n)| format!("{} = {}", c.name, place(n, c.kind)));
    sets.collect::<Vec<_>>().join(", ")
}

/// That an attempt which came after another one has ended and has taken its place, as [`Closing::is_aside`] says. Before each column stands
/// this.
pub(super) fn has_followed(of: &str) -> String {
    format!(
        "{of}outcome IS NOT NULL AND {of}outcome <> 'escalated' AND coalesce({of}cause, '') NOT IN ('escalated', 'check', 'shadow', 'hedge')"
    )
}

/// What [`attempt`] reads, in its order, from an attempt `a` of this table, its key `k` and its correction `c`. `shown` says how a
/// column of this name and kind is selected.
pub(super) fn selected(table: &str, shown: impl Fn(&str, ColumnKind) -> String) -> String {
    let opening = OPENING.iter().map(|c| (c.name, c.kind));
    let closing = CLOSING.iter().map(|c| (c.name, c.kind));
    let own = opening
        .chain(closing)
        .map(|(name, kind)| shown(&format!("a.{name}"), kind));
    let beside = [
        ("k.name", ColumnKind::MaybeText),
        ("c.cost", ColumnKind::MaybeMoney),
    ];
    let beside = beside.map(|(name, kind)| shown(name, kind));
    // The index of those that came after another one holds no other rows, and is not used unless this says so.
    let followed = format!(
        "EXISTS (SELECT 1 FROM {table} f WHERE f.escalated_from = a.attempt AND f.escalated_from <> '' AND {})",
        has_followed("f.")
    );
    let all = own.chain(beside).chain([followed]);
    all.collect::<Vec<_>>().join(", ")
}

/// The attempt of a row. `cell` gives what stands at a place of [`selected`], which is of this kind.
///
/// # Errors
/// What `cell` says.
pub(super) fn attempt<'r, E>(
    cell: impl Fn(usize, ColumnKind) -> Result<ColumnValue<'r>, E>,
) -> Result<Attempt, E> {
    let mut opening = Opening::default();
    for (at, column) in OPENING.iter().enumerate() {
        (column.read)(&mut opening, cell(at, column.kind)?);
    }
    let first = OPENING.len();
    let open = matches!(cell(first, CLOSING[0].kind)?, ColumnValue::Nothing);
    let mut closing = None;
    if !open {
        let mut read = Closing::void(&opening.attempt, Outcome::UpstreamError);
        for (at, column) in CLOSING.iter().enumerate() {
            (column.read)(&mut read, cell(first + at, column.kind)?);
        }
        closing = Some(read);
    }
    let key_name = match cell(KEY_NAME, ColumnKind::MaybeText)? {
        ColumnValue::Nothing => "local".to_owned(),
        name => name.text(),
    };
    Ok(Attempt {
        opening,
        key_name,
        closing,
        trued_up: cell(KEY_NAME + 1, ColumnKind::MaybeMoney)?.maybe_money(),
        followed: cell(KEY_NAME + 2, ColumnKind::Truth)?.truth(),
    })
}

/// What a value is, for a column of its kind. An empty one is nothing: 0, or no text.
impl ColumnValue<'_> {
    fn maybe_integer(self) -> Option<i64> {
        match self {
            ColumnValue::Integer(n) => Some(n),
            _ => None,
        }
    }

    fn integer(self) -> i64 {
        self.maybe_integer().unwrap_or(0)
    }

    fn maybe_count(self) -> Option<u64> {
        u64::try_from(self.maybe_integer()?).ok()
    }

    fn count(self) -> u64 {
        u64::try_from(self.integer()).unwrap_or(0)
    }

    fn truth(self) -> bool {
        matches!(self, ColumnValue::Truth(true))
    }

    fn text(self) -> String {
        match self {
            ColumnValue::Text(text) => text.into_owned(),
            _ => String::new(),
        }
    }

    fn maybe_money(self) -> Option<PicoUsd> {
        match self {
            ColumnValue::Money(amount) => Some(amount),
            _ => None,
        }
    }

    fn money(self) -> PicoUsd {
        self.maybe_money().unwrap_or(PicoUsd::ZERO)
    }

    fn pairs(self) -> Vec<(String, String)> {
        match self {
            ColumnValue::Pairs(pairs) => pairs.into_owned(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Usage;

    /// An attempt of which no field is what it is by default.
    fn full() -> Attempt {
        let opening = Opening {
            request: "r".into(),
            attempt: "a".into(),
            at_ms: 1,
            counted_ms: 2,
            key: Some(3),
            organisation: "o".into(),
            team: "t".into(),
            session: "s".into(),
            user: "u".into(),
            user_name: String::new(),
            tags: vec![("k".into(), "v".into())],
            provider: "p".into(),
            model: "m".into(),
            effort: Effort::High,
            tier: Tier::Reasoning,
            task: "code".into(),
            rule: "rule".into(),
            difficulty_milli: 4,
            dialect: "d".into(),
            simulated: true,
            escalated_from: "before".into(),
            bound: PicoUsd(5),
            bound_tokens: 6,
            catalogue: "c".into(),
        };
        let closing = Closing {
            attempt: "a".into(),
            cost: PicoUsd(7),
            baseline: PicoUsd(8),
            baseline_extra: PicoUsd(18),
            baseline_model: "b".into(),
            baseline_effort: Effort::Max,
            cause: Some(Cause::Cold),
            cache_discount: PicoUsd(-21),
            usage: Usage {
                input: 9,
                cached: 10,
                cache_write: 11,
                cache_write_long: 12,
                output: 13,
                reasoning: 14,
                reported_cost: Some(PicoUsd(15)),
                ..Usage::default()
            },
            basis: Basis::Counted,
            outcome: Outcome::Length,
            excess: PicoUsd(16),
            service_tier: Some(ServiceTier::Flex),
            tokens: 17,
            shown: Some(Shown {
                sign: Sign::Asked,
                probability_ppm: Some(19),
                chance_milli: 20,
            }),
        };
        Attempt {
            opening,
            key_name: "app".into(),
            closing: Some(closing),
            trued_up: Some(PicoUsd(18)),
            followed: true,
        }
    }

    /// What a store would read that had written this; `instead` says what stands in some columns instead.
    fn read_back(attempt: &Attempt, instead: &[(&str, Option<&'static str>)]) -> Attempt {
        let closing = attempt.closing.as_ref();
        let read = |at: usize, _| -> Result<_, std::convert::Infallible> {
            let name = OPENING.iter().map(|c| c.name);
            let name = name.chain(CLOSING.iter().map(|c| c.name)).nth(at);
            let other = instead.iter().find(|(n, _)| Some(*n) == name);
            Ok(match (other, at.checked_sub(OPENING.len())) {
                (Some((_, text)), _) => text.map_or(ColumnValue::Nothing, super::text),
                (None, None) => (OPENING[at].write)(&attempt.opening),
                (None, Some(n)) if n < CLOSING.len() => {
                    closing.map_or(ColumnValue::Nothing, |c| (CLOSING[n].write)(c))
                }
                (None, Some(_)) if at == KEY_NAME => super::text(&attempt.key_name),
                (None, Some(_)) if at == KEY_NAME + 2 => ColumnValue::Truth(attempt.followed),
                _ => attempt
                    .trued_up
                    .map_or(ColumnValue::Nothing, ColumnValue::Money),
            })
        };
        let Ok(read) = super::attempt(read);
        read
    }

    #[test]
    fn every_field_is_read_back_as_it_was_written() {
        assert_eq!(read_back(&full(), &[]), full());
        let open = Attempt {
            closing: None,
            trued_up: None,
            ..full()
        };
        assert_eq!(read_back(&open, &[]), open);
    }

    #[test]
    fn words_that_nobody_knows_are_a_failure_at_the_bound_in_no_service_tier() {
        let strange = ["outcome", "basis", "service_tier"].map(|name| (name, Some("new")));
        let closing = read_back(&full(), &strange).closing.expect("closed");
        assert_eq!(
            (closing.outcome, closing.basis, closing.service_tier),
            (Outcome::UpstreamError, Basis::Bound, None)
        );
        // A row from before service tiers were kept.
        let before = read_back(&full(), &[("service_tier", None)]);
        assert_eq!(before.closing.expect("closed").service_tier, None);
    }
}
