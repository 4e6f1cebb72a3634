//! Reading the books: for the start, for export, for verification.

use super::super::Frozen;
use super::super::columns::{self, ColumnKind, ColumnValue};
use crate::ledger::cap::Counter;
use crate::ledger::record::{Attempt, Forfeit, Opening, Sum};
use crate::money::PicoUsd;
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, Row};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

/// Every attempt with its key's name and what a bill says of it; which ones is still to be said.
static SELECT: LazyLock<String> = LazyLock::new(|| {
    let columns = columns::selected("attempt", |name, _| name.to_owned());
    format!(
        "SELECT {columns} FROM attempt a LEFT JOIN key k ON k.id = a.key LEFT JOIN correction c ON c.attempt = a.attempt"
    )
});

/// Attempts without an end.
pub(super) fn open_attempts(db: &Connection) -> rusqlite::Result<Vec<Opening>> {
    let mut found = Vec::new();
    walk(db, "a.outcome IS NULL", &[], &mut |a| {
        found.push(a.opening);
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

pub(super) fn learned(db: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    db.prepare_cached("SELECT name, value FROM learned ORDER BY name")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
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

pub(super) fn walk_between(
    db: &Connection,
    between: Range<i64>,
    each: &mut dyn FnMut(Attempt) -> bool,
) -> rusqlite::Result<()> {
    let (from, to) = (between.start, between.end);
    walk(db, "a.at_ms >= ?1 AND a.at_ms < ?2", &[&from, &to], each)
}

pub(super) fn request(db: &Connection, request: &str) -> rusqlite::Result<Vec<Attempt>> {
    let mut found = Vec::new();
    walk(db, "a.request = ?1", &[&request], &mut |a| {
        found.push(a);
        true
    })?;
    Ok(found)
}

/// One attempt by its own id.
pub(super) fn one(db: &Connection, attempt: &str) -> rusqlite::Result<Option<Attempt>> {
    let mut found = None;
    walk(db, "a.attempt = ?1", &[&attempt], &mut |a| {
        found = Some(a);
        false
    })?;
    Ok(found)
}

fn walk(
    db: &Connection,
    which: &str,
    parameters: &[&dyn rusqlite::ToSql],
    each: &mut dyn FnMut(Attempt) -> bool,
) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(&format!(
        "{} WHERE {which} ORDER BY a.at_ms, a.attempt",
        *SELECT
    ))?;
    let mut rows = statement.query(parameters)?;
    while let Some(row) = rows.next()? {
        if !each(columns::attempt(|at, kind| cell(row, at, kind))?) {
            break;
        }
    }
    Ok(())
}

/// What stands in a column. What should be there and is not, or is of another type, is an error.
fn cell<'r>(row: &Row<'_>, at: usize, kind: ColumnKind) -> rusqlite::Result<ColumnValue<'r>> {
    let maybe = matches!(
        kind,
        ColumnKind::MaybeInteger | ColumnKind::MaybeText | ColumnKind::MaybeMoney
    );
    if maybe && row.get_ref(at)? == ValueRef::Null {
        return Ok(ColumnValue::Nothing);
    }
    Ok(match kind {
        ColumnKind::Integer | ColumnKind::MaybeInteger => ColumnValue::Integer(row.get(at)?),
        ColumnKind::Truth => ColumnValue::Truth(row.get(at)?),
        ColumnKind::Text | ColumnKind::MaybeText => ColumnValue::Text(Cow::Owned(row.get(at)?)),
        ColumnKind::Money | ColumnKind::MaybeMoney => {
            ColumnValue::Money(PicoUsd(i128::from(row.get::<_, i64>(at)?)))
        }
        ColumnKind::Pairs => {
            let pairs = serde_json::from_str(row.get_ref(at)?.as_str()?);
            ColumnValue::Pairs(Cow::Owned(pairs.map_err(|e| {
                rusqlite::Error::FromSqlConversionFailure(at, Type::Text, e.into())
            })?))
        }
    })
}
