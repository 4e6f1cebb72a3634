//! Reading the books: for the start, for export, for verification.

use super::super::columns::{self, ColumnKind, ColumnValue};
use super::super::sums;
use super::super::{Frozen, Kept};
use crate::arm::Effort;
use crate::ledger::cap::Counter;
use crate::ledger::judged::{JudgedAnswer, JudgedBy};
use crate::ledger::record::{Attempt, Forfeit, Opening, Sum};
use crate::ledger::rollup::{Amounts, Grain, Group};
use crate::money::PicoUsd;
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};
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

/// Every outcome, in the order in which they came.
pub(super) fn outcomes(
    db: &Connection,
    each: &mut dyn FnMut(JudgedAnswer),
) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(
        "SELECT request, model, effort, judged_by, task, difficulty_milli, score_ppm, cost, seen_ppm, at_ms, key FROM outcome ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name = |at: usize| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
        // What a newer flyball has written of a kind that is not known here says nothing here.
        let (Some(effort), Some(by)) = (Effort::parse(name(2)?), JudgedBy::parse(name(3)?)) else {
            continue;
        };
        each(JudgedAnswer {
            request: row.get(0)?,
            model: row.get(1)?,
            effort,
            by,
            task: row.get(4)?,
            difficulty_milli: row.get(5)?,
            score_ppm: row.get(6)?,
            cost: row
                .get::<_, Option<i64>>(7)?
                .map(|c| PicoUsd(i128::from(c))),
            seen_ppm: row.get(8)?,
            at_ms: row.get(9)?,
            key: row.get(10)?,
        });
    }
    Ok(())
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

/// How many attempts have taken the place of this one, without this other one.
pub(super) fn followers(db: &Connection, attempt: &str, but: &str) -> rusqlite::Result<i64> {
    static COUNT: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT COUNT(*) FROM attempt WHERE escalated_from = ?1 AND escalated_from <> '' AND attempt <> ?2 AND {}",
            columns::has_followed("")
        )
    });
    db.prepare_cached(&COUNT)?
        .query_row([attempt, but], |row| row.get(0))
}

/// Where the sums over hours, or days, are.
pub(super) fn sums_table(grain: Grain) -> &'static str {
    match grain {
        Grain::Hour => "rollup_hour",
        Grain::Day => "rollup_day",
    }
}

/// What groups add up to: numbers of hours or days since 1970 from the first to before the last, the group's row, the sums.
pub(super) fn rollups(
    db: &Connection,
    grain: Grain,
    between: Range<i64>,
    each: &mut dyn FnMut(i64, i64, &Amounts),
) -> rusqlite::Result<()> {
    let (table, names) = (sums_table(grain), sums::columns(|name, _| name.to_owned()));
    let mut statement = db.prepare_cached(&format!(
        "SELECT at, grp, {names} FROM {table} WHERE at >= ?1 AND at < ?2"
    ))?;
    let mut rows = statement.query([between.start, between.end])?;
    while let Some(row) = rows.next()? {
        let mut values = [0; Amounts::NAMES.len()];
        for (value, n) in values.iter_mut().zip(2..) {
            *value = i128::from(row.get::<_, i64>(n)?);
        }
        each(row.get(0)?, row.get(1)?, &Amounts::of_values(values));
    }
    Ok(())
}

/// The groups whose rows come after this one.
pub(super) fn groups_after(
    db: &Connection,
    last: i64,
) -> rusqlite::Result<Vec<(i64, Group<'static>)>> {
    let mut statement =
        db.prepare_cached("SELECT id, name FROM rollup_group WHERE id > ?1 ORDER BY id")?;
    let rows = statement.query_map([last], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    let mut groups = Vec::new();
    for row in rows {
        let (id, name): (i64, String) = row?;
        let group = Group::read(&name).ok_or_else(|| {
            let why = format!("the group {id} cannot be read");
            rusqlite::Error::FromSqlConversionFailure(1, Type::Text, why.into())
        })?;
        groups.push((id, group));
    }
    Ok(groups)
}

/// The oldest attempts that were admitted before an instant and have ended.
pub(super) fn oldest(db: &Connection, before_ms: i64, most: i64) -> rusqlite::Result<Vec<Attempt>> {
    let mut found = Vec::new();
    let which = "a.attempt IN (SELECT attempt FROM attempt WHERE at_ms < ?1 AND outcome IS NOT NULL ORDER BY at_ms LIMIT ?2)";
    walk(db, which, &[&before_ms, &most], &mut |a| {
        found.push(a);
        true
    })?;
    Ok(found)
}

/// From when on attempts are kept.
pub(super) fn kept_from(db: &Connection) -> rusqlite::Result<i64> {
    let found = db
        .prepare_cached("SELECT from_ms FROM kept")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or(i64::MIN))
}

/// What attempts that were deleted had added to counters.
pub(super) fn carried(db: &Connection) -> rusqlite::Result<Vec<Sum>> {
    db.prepare("SELECT name, id, amount FROM carried")?
        .query_map([], |row| {
            Ok(Sum {
                counter: row.get(0)?,
                id: row.get(1)?,
                posted: i128::from(row.get::<_, i64>(2)?),
                leased: 0,
            })
        })?
        .collect()
}

pub(super) fn kept(db: &Connection, bytes: u64) -> rusqlite::Result<Kept> {
    let number = |text: &str| -> rusqlite::Result<Option<i64>> {
        let found = db.prepare_cached(text)?.query_row([], |row| row.get(0));
        Ok(found.optional()?.flatten())
    };
    // Rows are numbered in their order and the oldest go first.
    let first = number("SELECT MIN(rowid) FROM attempt")?.unwrap_or(1);
    let last = number("SELECT MAX(rowid) FROM attempt")?.unwrap_or(0);
    let day = number("SELECT MIN(at) FROM rollup_day")?;
    Ok(Kept {
        from_ms: kept_from(db)?,
        last_ms: number("SELECT MAX(at_ms) FROM attempt")?,
        first_ms: day.map(|day| day * Grain::Day.ms()),
        attempts: u64::try_from(last - first + 1).unwrap_or(0),
        bytes,
    })
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
