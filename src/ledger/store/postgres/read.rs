//! Reading the shared books.

use super::super::columns::{self, ColumnKind, ColumnValue};
use super::super::sums;
use super::super::{Frozen, Kept, Key, caps_read, old_read};
use crate::arm::Effort;
use crate::ledger::cap::Counter;
use crate::ledger::judged::{JudgedAnswer, JudgedBy};
use crate::ledger::record::{Attempt, Forfeit, Sum};
use crate::ledger::rollup::{Amounts, Grain, Group};
use crate::money::PicoUsd;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use postgres::{GenericClient, Row};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::LazyLock;

/// Every attempt with its key's name and what a bill says of it; which ones is still to be said.
static SELECT: LazyLock<String> = LazyLock::new(|| {
    let columns = columns::selected("fb_attempt", |name, kind| match kind {
        ColumnKind::Money | ColumnKind::MaybeMoney => format!("{name}::text"),
        _ => name.to_owned(),
    });
    format!(
        "SELECT {columns} FROM fb_attempt a LEFT JOIN fb_key k ON k.id = a.key LEFT JOIN fb_correction c ON c.attempt = a.attempt"
    )
});

/// A NUMERIC(38,0), read as text.
pub(super) fn amount(row: &Row, column: usize) -> i128 {
    row.get::<_, Option<&str>>(column)
        .and_then(|t| t.parse().ok())
        .unwrap_or(0)
}

pub(super) fn defined(c: &mut impl GenericClient) -> Result<Vec<Counter>, postgres::Error> {
    let rows = c.query("SELECT name FROM fb_defined", &[])?;
    Ok(rows
        .iter()
        .filter_map(|r| Counter::read(r.get(0)))
        .collect())
}

pub(super) fn sums(c: &mut impl GenericClient) -> Result<Vec<Sum>, postgres::Error> {
    let mut all: BTreeMap<(String, i64), (i128, i128)> = BTreeMap::new();
    for row in c.query("SELECT name, id, posted::text FROM fb_counter", &[])? {
        all.entry((row.get(0), row.get(1))).or_default().0 += amount(&row, 2);
    }
    for row in c.query("SELECT counter, id, amount::text FROM fb_lease", &[])? {
        all.entry((row.get(0), row.get(1))).or_default().1 += amount(&row, 2);
    }
    let sum = |((counter, id), (posted, leased))| Sum {
        counter,
        id,
        posted,
        leased,
    };
    Ok(all.into_iter().map(sum).collect())
}

pub(super) fn forfeits(c: &mut impl GenericClient) -> Result<Vec<Forfeit>, postgres::Error> {
    let rows = c.query(
        "SELECT counter, id, amount::text, at_ms FROM fb_forfeit ORDER BY at_ms",
        &[],
    )?;
    let forfeit = |r: &Row| Forfeit {
        counter: r.get(0),
        id: r.get(1),
        amount: amount(r, 2),
        at_ms: r.get(3),
    };
    Ok(rows.iter().map(forfeit).collect())
}

/// Every outcome, in the order in which they came; a few at a time.
pub(super) fn outcomes(
    c: &mut impl GenericClient,
    each: &mut dyn FnMut(JudgedAnswer),
) -> Result<(), postgres::Error> {
    let text = "SELECT request, model, effort, judged_by, task, difficulty_milli, score_ppm, cost::text, seen_ppm, at_ms, key FROM fb_outcome ORDER BY id";
    let mut rows = c.query_raw::<_, &i64, _>(text, [])?;
    while let Some(r) = rows.next()? {
        // What a newer flyball has written of a kind that is not known here says nothing here.
        let (Some(effort), Some(by)) = (Effort::parse(r.get(2)), JudgedBy::parse(r.get(3))) else {
            continue;
        };
        let cost = r.get::<_, Option<&str>>(7);
        each(JudgedAnswer {
            request: r.get(0),
            model: r.get(1),
            effort,
            by,
            task: r.get(4),
            difficulty_milli: r.get(5),
            score_ppm: r.get(6),
            cost: cost.and_then(|c| c.parse().ok()).map(PicoUsd),
            seen_ppm: r.get(8),
            at_ms: r.get(9),
            key: r.get(10),
        });
    }
    Ok(())
}

pub(super) fn frozen(c: &mut impl GenericClient) -> Result<Vec<Frozen>, postgres::Error> {
    let rows = c.query(
        "SELECT provider, model, since, why FROM fb_frozen ORDER BY since",
        &[],
    )?;
    let frozen = |r: &Row| Frozen {
        provider: r.get(0),
        model: r.get(1),
        since: r.get(2),
        why: r.get(3),
    };
    Ok(rows.iter().map(frozen).collect())
}

pub(super) fn keys(c: &mut impl GenericClient) -> Result<Vec<Key>, postgres::Error> {
    let rows = c.query(
        "SELECT id, name, hash, created, expires, revoked, private, team, caps, models, tags, required_tags, old, paused FROM fb_key ORDER BY id",
        &[],
    )?;
    Ok(rows.iter().map(key).collect())
}

fn key(r: &Row) -> Key {
    let hash = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).unwrap_or_default();
    let id = r.get(0);
    // A key whose caps cannot be read must not be one without caps: it is as good as revoked.
    let caps = caps_read(id, r.get(8));
    Key {
        id,
        name: r.get(1),
        hash: hash(r.get(2)),
        old: old_read(r.get(12)),
        created: r.get(3),
        expires: r.get(4),
        revoked: r.get::<_, bool>(5) || caps.is_err(),
        paused: r.get(13),
        private: r.get(6),
        team: r.get(7),
        caps: caps.unwrap_or_default(),
        models: list(r.get(9)),
        tags: list(r.get(10)),
        required_tags: list(r.get(11)),
    }
}

fn list<T: serde::de::DeserializeOwned>(text: &str) -> Vec<T> {
    serde_json::from_str(text).unwrap_or_default()
}

/// How many attempts have taken the place of this one, without this other one.
pub(super) fn followers(
    c: &mut impl GenericClient,
    attempt: &str,
    but: &str,
) -> Result<i64, postgres::Error> {
    static COUNT: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT COUNT(*) FROM fb_attempt WHERE escalated_from = $1 AND escalated_from <> '' AND attempt <> $2 AND {}",
            columns::has_followed("")
        )
    });
    Ok(c.query_one(COUNT.as_str(), &[&attempt, &but])?.get(0))
}

/// One attempt by its own id.
pub(super) fn one(
    c: &mut impl GenericClient,
    attempt: &str,
) -> Result<Option<Attempt>, postgres::Error> {
    let mut found = None;
    walk(c, "a.attempt = $1", &[&attempt], &mut |a| {
        found = Some(a);
        true
    })?;
    Ok(found)
}

/// Where the sums over hours, or days, are.
pub(super) fn sums_table(grain: Grain) -> &'static str {
    match grain {
        Grain::Hour => "fb_rollup_hour",
        Grain::Day => "fb_rollup_day",
    }
}

/// What groups add up to, from the first of these hours or days since 1970 to before the last, as for the embedded store. `whole`: one
/// sum for each group.
pub(super) fn rollups(
    c: &mut impl GenericClient,
    grain: Grain,
    between: Range<i64>,
    whole: bool,
    each: &mut dyn FnMut(i64, i64, &Amounts),
) -> Result<(), postgres::Error> {
    let table = sums_table(grain);
    let text = match whole {
        true => {
            let sums = sums::columns(|name, _| format!("sum({name})::text"));
            format!(
                "SELECT min(at), grp, {sums} FROM {table} WHERE at >= $1 AND at < $2 GROUP BY grp"
            )
        }
        false => {
            let plain = sums::columns(|name, _| format!("{name}::text"));
            format!(
                "SELECT at, grp, {plain} FROM {table} WHERE at >= $1 AND at < $2 ORDER BY at, grp"
            )
        }
    };
    let mut rows = c.query_raw(&text, &[&between.start, &between.end])?;
    while let Some(row) = rows.next()? {
        let mut values = [0; Amounts::NAMES.len()];
        for (value, n) in values.iter_mut().zip(2..) {
            *value = amount(&row, n);
        }
        each(row.get(0), row.get(1), &Amounts::of_values(values));
    }
    Ok(())
}

/// Every group by its row, but for those that are known.
pub(super) fn groups(
    c: &mut impl GenericClient,
    known: &mut BTreeMap<i64, Group<'static>>,
) -> Result<(), postgres::Error> {
    let ids: Vec<i64> = known.keys().copied().collect();
    let text = "SELECT id, name FROM fb_rollup_group WHERE id <> ALL($1)";
    for row in c.query(text, &[&ids])? {
        if let Some(group) = Group::read(row.get(1)) {
            known.insert(row.get(0), group);
        }
    }
    Ok(())
}

/// What attempts that were deleted had added to counters.
pub(super) fn carried(c: &mut impl GenericClient) -> Result<Vec<Sum>, postgres::Error> {
    let rows = c.query("SELECT name, id, amount::text FROM fb_carried", &[])?;
    let sum = |r: &Row| Sum {
        counter: r.get(0),
        id: r.get(1),
        posted: amount(r, 2),
        leased: 0,
    };
    Ok(rows.iter().map(sum).collect())
}

pub(super) fn kept(c: &mut impl GenericClient) -> Result<Kept, postgres::Error> {
    let text = "SELECT (SELECT from_ms FROM fb_kept), (SELECT max(at_ms) FROM fb_attempt), (SELECT min(at) FROM fb_rollup_day),
        (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'fb_attempt'::regclass),
        (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c WHERE c.relkind = 'r' AND c.relname LIKE 'fb\\_%')";
    let row = c.query_one(text, &[])?;
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    let day: Option<i64> = row.get(2);
    Ok(Kept {
        from_ms: row.get::<_, Option<i64>>(0).unwrap_or(i64::MIN),
        last_ms: row.get(1),
        first_ms: day.map(|day| day * Grain::Day.ms()),
        attempts: count(row.get(3)),
        bytes: count(row.get(4)),
    })
}

/// Attempts one by one, so that a long ledger needs no memory.
pub(super) fn walk(
    c: &mut impl GenericClient,
    which: &str,
    parameters: &[&(dyn ToSql + Sync)],
    each: &mut dyn FnMut(Attempt) -> bool,
) -> Result<(), postgres::Error> {
    let text = format!("{} WHERE {which} ORDER BY a.at_ms, a.attempt", *SELECT);
    let mut rows = c.query_raw(&text, parameters.iter().copied())?;
    while let Some(row) = rows.next()? {
        let Ok(attempt) = columns::attempt(|at, kind| Ok::<_, Infallible>(cell(&row, at, kind)));
        if !each(attempt) {
            break;
        }
    }
    Ok(())
}

/// What stands in a column; where a number should be and is not, 0.
fn cell(row: &Row, at: usize, kind: ColumnKind) -> ColumnValue<'_> {
    match kind {
        ColumnKind::Integer => ColumnValue::Integer(row.get::<_, Option<i64>>(at).unwrap_or(0)),
        ColumnKind::MaybeInteger => row
            .get::<_, Option<i64>>(at)
            .map_or(ColumnValue::Nothing, ColumnValue::Integer),
        ColumnKind::Truth => ColumnValue::Truth(row.get(at)),
        ColumnKind::Text | ColumnKind::MaybeText => row
            .get::<_, Option<&str>>(at)
            .map_or(ColumnValue::Nothing, |text| {
                ColumnValue::Text(Cow::Borrowed(text))
            }),
        ColumnKind::Money => ColumnValue::Money(PicoUsd(amount(row, at))),
        ColumnKind::MaybeMoney => row
            .get::<_, Option<&str>>(at)
            .and_then(|text| text.parse().ok())
            .map_or(ColumnValue::Nothing, |pico| {
                ColumnValue::Money(PicoUsd(pico))
            }),
        ColumnKind::Pairs => ColumnValue::Pairs(Cow::Owned(list(row.get(at)))),
    }
}
