//! Reading the books: for the start, for export, for verification.

use super::super::{Attempt, Closing, Facts, Forfeit, Frozen, Sum};
use crate::chat::Usage;
use crate::ledger::cap::Counter;
use crate::money::PicoUsd;
use rusqlite::{Connection, Row};
use std::collections::BTreeMap;

const COLUMNS: &str = "a.attempt, a.request, a.at_ms, a.key, a.provider, a.model, a.effort, a.tier, a.task, a.rule, a.difficulty_milli,
    a.dialect, a.simulated, a.bound, a.catalogue, k.name, a.outcome, a.basis, a.cost, a.baseline, a.reported_cost, a.excess,
    a.input, a.cached, a.cache_write, a.cache_write_long, a.output, a.reasoning,
    a.counted_ms, a.organisation, a.team, a.session, a.tags, a.bound_tokens, a.tokens, a.service_tier, c.cost";

/// Attempts without an end.
pub(super) fn open_attempts(db: &Connection) -> rusqlite::Result<Vec<Facts>> {
    let mut found = Vec::new();
    walk(db, "a.outcome IS NULL", &rusqlite::types::Null, &mut |a| {
        found.push(a.facts);
        true
    })?;
    Ok(found)
}

/// The counters that are kept.
pub(super) fn defined(db: &Connection) -> rusqlite::Result<Vec<Counter>> {
    let names: Vec<String> = db
        .prepare("SELECT name FROM defined")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(names.iter().filter_map(|n| Counter::read(n)).collect())
}

/// What is set aside, by counter and window.
pub(super) fn leases(db: &Connection) -> rusqlite::Result<BTreeMap<(String, i64), i128>> {
    let mut sums = BTreeMap::new();
    let mut rows = db.prepare("SELECT counter, id, amount FROM lease")?;
    let rows = rows.query_map([], |row| {
        Ok(((row.get(0)?, row.get(1)?), row.get::<_, i64>(2)?))
    })?;
    for row in rows {
        let (at, amount) = row?;
        *sums.entry(at).or_default() += i128::from(amount);
    }
    Ok(sums)
}

/// Everything that is posted and set aside, by counter and window.
pub(super) fn sums(db: &Connection) -> rusqlite::Result<Vec<Sum>> {
    let mut leased = leases(db)?;
    let mut sums: Vec<Sum> = db
        .prepare("SELECT name, id, posted FROM counter ORDER BY name, id")?
        .query_map([], |row| {
            Ok(Sum {
                counter: row.get(0)?,
                id: row.get(1)?,
                posted: i128::from(row.get::<_, i64>(2)?),
                leased: 0,
            })
        })?
        .collect::<Result<_, _>>()?;
    for sum in &mut sums {
        sum.leased = leased.remove(&(sum.counter.clone(), sum.id)).unwrap_or(0);
    }
    sums.extend(leased.into_iter().map(|((counter, id), leased)| Sum {
        counter,
        id,
        posted: 0,
        leased,
    }));
    Ok(sums)
}

pub(super) fn forfeits(db: &Connection) -> rusqlite::Result<Vec<Forfeit>> {
    db.prepare("SELECT counter, id, amount, at_ms FROM forfeit ORDER BY at_ms")?
        .query_map([], |row| {
            Ok(Forfeit {
                counter: row.get(0)?,
                id: row.get(1)?,
                amount: i128::from(row.get::<_, i64>(2)?),
                at_ms: row.get(3)?,
            })
        })?
        .collect()
}

pub(super) fn frozen(db: &Connection) -> rusqlite::Result<Vec<Frozen>> {
    db.prepare_cached("SELECT provider, model, since, why FROM frozen ORDER BY since")?
        .query_map([], |row| {
            Ok(Frozen {
                provider: row.get(0)?,
                model: row.get(1)?,
                since: row.get(2)?,
                why: row.get(3)?,
            })
        })?
        .collect()
}

pub(super) fn walk_since(
    db: &Connection,
    since_ms: i64,
    each: &mut dyn FnMut(Attempt) -> bool,
) -> rusqlite::Result<()> {
    walk(db, "a.at_ms >= ?1", &since_ms, each)
}

pub(super) fn request(db: &Connection, request: &str) -> rusqlite::Result<Vec<Attempt>> {
    let mut found = Vec::new();
    walk(db, "a.request = ?1", &request, &mut |a| {
        found.push(a);
        true
    })?;
    Ok(found)
}

/// One attempt by its own id.
pub(super) fn one(db: &Connection, attempt: &str) -> rusqlite::Result<Option<Attempt>> {
    let mut found = None;
    walk(db, "a.attempt = ?1", &attempt, &mut |a| {
        found = Some(a);
        false
    })?;
    Ok(found)
}

fn walk(
    db: &Connection,
    which: &str,
    parameter: &dyn rusqlite::ToSql,
    each: &mut dyn FnMut(Attempt) -> bool,
) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM attempt a LEFT JOIN key k ON k.id = a.key LEFT JOIN correction c ON c.attempt = a.attempt WHERE {which} ORDER BY a.at_ms, a.attempt"
    ))?;
    let mut rows = match statement.parameter_count() {
        0 => statement.query([])?,
        _ => statement.query([parameter])?,
    };
    while let Some(row) = rows.next()? {
        if !each(attempt(row)?) {
            break;
        }
    }
    Ok(())
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    let tags: String = row.get(32)?;
    let facts = Facts {
        attempt: row.get(0)?,
        request: row.get(1)?,
        at_ms: row.get(2)?,
        key: row.get(3)?,
        provider: row.get(4)?,
        model: row.get(5)?,
        effort: row.get(6)?,
        tier: row.get(7)?,
        task: row.get(8)?,
        rule: row.get(9)?,
        difficulty_milli: row.get(10)?,
        dialect: row.get(11)?,
        simulated: row.get(12)?,
        bound: money(row, 13)?,
        catalogue: row.get(14)?,
        counted_ms: row.get(28)?,
        organisation: row.get(29)?,
        team: row.get(30)?,
        session: row.get(31)?,
        tags: serde_json::from_str(&tags).map_err(|e| {
            rusqlite::Error::FromSqlConversionFailure(32, rusqlite::types::Type::Text, e.into())
        })?,
        bound_tokens: count(row, 33)?,
    };
    let outcome: Option<String> = row.get(16)?;
    let closing = outcome
        .map(|outcome| closing(row, &facts.attempt, &outcome))
        .transpose()?;
    Ok(Attempt {
        key_name: row
            .get::<_, Option<String>>(15)?
            .unwrap_or_else(|| "local".into()),
        facts,
        closing,
        trued_up: row
            .get::<_, Option<i64>>(36)?
            .map(|n| PicoUsd(i128::from(n))),
    })
}

fn closing(row: &Row<'_>, attempt: &str, outcome: &str) -> rusqlite::Result<Closing> {
    let basis: String = row.get(17)?;
    Ok(Closing {
        attempt: attempt.to_owned(),
        outcome: crate::ledger::known_outcome(outcome),
        basis: crate::ledger::known_basis(&basis),
        cost: money(row, 18)?,
        baseline: money(row, 19)?,
        excess: money(row, 21)?,
        usage: Usage {
            reported_cost: row
                .get::<_, Option<i64>>(20)?
                .map(|n| PicoUsd(i128::from(n))),
            input: count(row, 22)?,
            cached: count(row, 23)?,
            cache_write: count(row, 24)?,
            cache_write_long: count(row, 25)?,
            output: count(row, 26)?,
            reasoning: count(row, 27)?,
            ..Usage::default()
        },
        service_tier: crate::ledger::known_service_tier(
            row.get::<_, Option<String>>(35)?
                .as_deref()
                .unwrap_or_default(),
        ),
        tokens: count(row, 34)?,
    })
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column)
        .map(|n| u64::try_from(n).unwrap_or(0))
}

fn money(row: &Row<'_>, column: usize) -> rusqlite::Result<PicoUsd> {
    row.get::<_, i64>(column).map(|n| PicoUsd(i128::from(n)))
}
