//! Writing the books: each batch in one transaction.

use super::super::columns::{self, CLOSING, ColumnValue, OPENING};
use super::super::{Given, StoreAnswer, StoreWork};
use super::{OWNER, integer, read};
use crate::ledger::balance::{Posting, Want};
use crate::ledger::cap::{Counter, covered};
use crate::ledger::record::{Closing, Correction, Opening, Sum, TrueUp, crashed};
use crate::ledger::replay::{Replay, corrections, counts};
use foldhash::{HashMap, HashSet};
use rusqlite::types::{Null, ToSql, ToSqlOutput};
use rusqlite::{
    CachedStatement, Connection, OptionalExtension, Transaction, params, params_from_iter,
};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Changes of one counter's window: posted, and leased.
type Changes = BTreeMap<(Arc<str>, i64), (i128, i128)>;

pub(super) fn write(
    db: &mut Connection,
    works: &[&StoreWork],
) -> rusqlite::Result<Vec<StoreAnswer>> {
    for work in works {
        if let StoreWork::PagesMax(full) = work {
            limit_pages(db, *full);
        }
    }
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let mut changes = Changes::new();
    let mut answers = Vec::with_capacity(works.len());
    let mut short = ShortAttempts::of(works);
    let mut rows = Rows::of(&tx)?;
    for work in works {
        answers.push(one(&tx, &mut rows, work, &mut short, &mut changes)?);
    }
    drop(rows);
    apply(&tx, &mut changes)?;
    tx.commit()?;
    Ok(answers)
}

/// Attempts that open and close in one batch: they become one row with one INSERT, where the close stands.
#[derive(Default)]
struct ShortAttempts<'w> {
    closing: HashSet<&'w str>,
    open: HashMap<&'w str, &'w Opening>,
}

impl<'w> ShortAttempts<'w> {
    fn of(works: &[&'w StoreWork]) -> ShortAttempts<'w> {
        let closing = works.iter().filter_map(|work| match work {
            StoreWork::Close(closing, _) => Some(&*closing.attempt),
            _ => None,
        });
        ShortAttempts {
            closing: closing.collect(),
            open: HashMap::default(),
        }
    }

    /// Keeps an opening until its close comes, if that is in the batch.
    fn keep(&mut self, opening: &'w Opening) -> bool {
        let closes = self.closing.contains(&*opening.attempt);
        if closes {
            self.open.insert(&opening.attempt, opening);
        }
        closes
    }
}

fn one<'w>(
    tx: &Transaction<'_>,
    rows: &mut Rows<'_>,
    work: &'w StoreWork,
    short: &mut ShortAttempts<'w>,
    changes: &mut Changes,
) -> rusqlite::Result<StoreAnswer> {
    match work {
        StoreWork::Open(opening) => {
            if !short.keep(opening) {
                rows.insert(opening)?;
            }
        }
        StoreWork::Close(closing, postings) => {
            let written = match short.open.remove(&*closing.attempt) {
                Some(opening) => rows.insert_closed(opening, closing)?,
                None => 0,
            };
            // Only an open row can be closed: a second close changes nothing and spends nothing.
            if written == 1 || rows.close(closing)? == 1 {
                note(changes, postings);
            }
        }
        StoreWork::Return(postings) => note(changes, postings),
        StoreWork::Lease(wants) => {
            apply(tx, changes)?;
            let given = wants
                .iter()
                .map(|want| lease(tx, want))
                .collect::<Result<_, _>>()?;
            return Ok(StoreAnswer::Leases(0, given));
        }
        StoreWork::Define { counters, now } => {
            apply(tx, changes)?;
            return Ok(StoreAnswer::Sums(define(tx, counters, *now)?));
        }
        StoreWork::Freeze(f) => {
            tx.execute(
                "INSERT INTO frozen (provider, model, since, why) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                params![f.provider, f.model, f.since, f.why],
            )?;
        }
        StoreWork::Learn(entries) => {
            for (name, value) in entries {
                tx.execute(
                    "INSERT INTO learned (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    params![name, value],
                )?;
            }
        }
        StoreWork::Beat | StoreWork::Flush | StoreWork::PagesMax(_) => {}
    }
    Ok(StoreAnswer::Done)
}

fn note(changes: &mut Changes, postings: &[Posting]) {
    for p in postings {
        let change = changes.entry((p.counter.clone(), p.id)).or_default();
        change.0 += p.posted;
        change.1 -= p.unleased;
    }
}

fn apply(tx: &Transaction<'_>, changes: &mut Changes) -> rusqlite::Result<()> {
    for ((counter, id), (posted, leased)) in std::mem::take(changes) {
        if posted != 0 {
            tx.prepare_cached(
                "INSERT INTO counter (name, id, posted) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name, id) DO UPDATE SET posted = posted + excluded.posted",
            )?
            .execute(params![counter, id, integer(posted)?])?;
        }
        if leased != 0 {
            tx.prepare_cached(
                "INSERT INTO lease (owner, counter, id, amount) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (owner, counter, id) DO UPDATE SET amount = amount + excluded.amount",
            )?
            .execute(params![OWNER, counter, id, integer(leased)?])?;
        }
    }
    Ok(())
}

/// Sets a part of a cap aside: as much as is wanted and left, or nothing if that is less than the need.
fn lease(tx: &Transaction<'_>, want: &Want) -> rusqlite::Result<Given> {
    let at = params![want.counter, want.id];
    let posted = tx
        .prepare_cached("SELECT posted FROM counter WHERE name = ?1 AND id = ?2")?
        .query_row(at, |row| row.get::<_, i64>(0))
        .optional()?;
    let posted = i128::from(posted.unwrap_or(0));
    let mut leased: i128 = 0;
    let mut rows = tx.prepare_cached("SELECT amount FROM lease WHERE counter = ?1 AND id = ?2")?;
    for amount in rows.query_map(at, |row| row.get::<_, i64>(0))? {
        leased += i128::from(amount?);
    }
    let left = (want.limit - posted - leased).max(0);
    let given = if left >= want.need {
        want.want.min(left)
    } else {
        0
    };
    let mut changes = Changes::from([((want.counter.clone(), want.id), (0, given))]);
    apply(tx, &mut changes)?;
    Ok(Given {
        counter: want.counter.clone(),
        id: want.id,
        given,
        posted,
        others: 0,
    })
}

/// Notes which counters are kept. A new one begins with what its attempts of the running window add up to.
fn define(tx: &Transaction<'_>, counters: &[Counter], now: i64) -> rusqlite::Result<Vec<Sum>> {
    let known = read::defined(tx)?;
    let (_, new): (Vec<Counter>, Vec<Counter>) = counters
        .iter()
        .cloned()
        .partition(|c| covered(&c.to_string(), &known));
    tx.execute("DELETE FROM defined", [])?;
    for counter in counters {
        tx.execute(
            "INSERT OR IGNORE INTO defined (name) VALUES (?1)",
            [counter.to_string()],
        )?;
    }
    if new.is_empty() {
        return Ok(Vec::new());
    }
    // What an earlier life of the counter has left is in the attempts too.
    for sum in read::sums(tx)?.iter().filter(|s| covered(&s.counter, &new)) {
        tx.execute(
            "DELETE FROM counter WHERE name = ?1 AND id = ?2",
            params![sum.counter, sum.id],
        )?;
    }
    let mut replay = Replay::running(new, now);
    read::walk_between(tx, replay.from_ms()..i64::MAX, &mut |attempt| {
        replay.add(&attempt);
        true
    })?;
    let sums = replay.sums();
    for sum in &sums {
        tx.execute(
            "INSERT INTO counter (name, id, posted) VALUES (?1, ?2, ?3)",
            params![sum.counter, sum.id, integer(sum.posted)?],
        )?;
    }
    Ok(sums)
}

static INSERT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO attempt ({}) VALUES ({}) ON CONFLICT DO NOTHING",
        columns::names(&OPENING),
        columns::places(&OPENING, |n, _| format!("?{n}"))
    )
});

static INSERT_CLOSED: LazyLock<String> = LazyLock::new(|| {
    let closing = |n: usize, _| format!("?{}", n + OPENING.len());
    format!(
        "INSERT INTO attempt ({}, {}) VALUES ({}, {}) ON CONFLICT DO NOTHING",
        columns::names(&OPENING),
        columns::names(&CLOSING),
        columns::places(&OPENING, |n, _| format!("?{n}")),
        columns::places(&CLOSING, closing)
    )
});

static CLOSE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE attempt SET {} WHERE attempt = ?{} AND outcome IS NULL",
        columns::sets(&CLOSING, |n, _| format!("?{n}")),
        CLOSING.len() + 1
    )
});

/// What writes the rows of attempts; found once for a batch.
struct Rows<'t> {
    insert: CachedStatement<'t>,
    insert_closed: CachedStatement<'t>,
    close: CachedStatement<'t>,
}

impl<'t> Rows<'t> {
    fn of(tx: &'t Transaction<'_>) -> rusqlite::Result<Rows<'t>> {
        Ok(Rows {
            insert: tx.prepare_cached(&INSERT)?,
            insert_closed: tx.prepare_cached(&INSERT_CLOSED)?,
            close: tx.prepare_cached(&CLOSE)?,
        })
    }

    fn insert(&mut self, opening: &Opening) -> rusqlite::Result<()> {
        let values = OPENING.iter().map(|column| (column.write)(opening));
        self.insert.execute(params_from_iter(values)).map(drop)
    }

    /// Writes an attempt that has closed already; 0 where its row is there.
    fn insert_closed(&mut self, opening: &Opening, closing: &Closing) -> rusqlite::Result<usize> {
        let opening = OPENING.iter().map(|column| (column.write)(opening));
        let closing = CLOSING.iter().map(|column| (column.write)(closing));
        self.insert_closed
            .execute(params_from_iter(opening.chain(closing)))
    }

    /// Closes an open row; 0 where there is none.
    fn close(&mut self, closing: &Closing) -> rusqlite::Result<usize> {
        let values = CLOSING.iter().map(|column| (column.write)(closing));
        let which = ColumnValue::Text(Cow::Borrowed(&closing.attempt));
        self.close.execute(params_from_iter(values.chain([which])))
    }
}

impl ToSql for ColumnValue<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            ColumnValue::Nothing => ToSqlOutput::from(Null),
            ColumnValue::Integer(n) => ToSqlOutput::from(*n),
            ColumnValue::Truth(is) => ToSqlOutput::from(*is),
            ColumnValue::Text(text) => ToSqlOutput::from(&**text),
            ColumnValue::Money(amount) => ToSqlOutput::from(integer(amount.0)?),
            ColumnValue::Pairs(pairs) => {
                ToSqlOutput::from(serde_json::to_string(pairs).expect("texts are JSON"))
            }
        })
    }
}

/// SQLite answers SQLITE_FULL past this many pages, as it does on a full disk.
fn limit_pages(db: &Connection, full: bool) {
    let limit = |pages: i64| {
        db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| {
            row.get::<_, i64>(0)
        })
    };
    // The least that SQLite accepts is the file's present size; a wide row then needs a page more.
    let _ = limit(if full { 1 } else { 4_294_967_294 });
}

/// Charges what the last owner of the file left: its open attempts at their bound, their outcome being unknown, and whatever
/// else of its leases it did not give back. Returns how many attempts.
pub(super) fn sweep(db: &mut Connection, now_ms: i64) -> rusqlite::Result<usize> {
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let counters = read::defined(&tx)?;
    let open = read::open_attempts(&tx)?;
    let mut leases = read::leases(&tx)?;
    let mut changes = Changes::new();
    let mut rows = Rows::of(&tx)?;
    for opening in &open {
        let closing = crashed(opening);
        rows.close(&closing)?;
        for (name, id, amount) in counts(&counters, opening, &closing) {
            let change = changes.entry((name.as_str().into(), id)).or_default();
            change.0 += amount;
            if let Some(lease) = leases.get_mut(&(name, id)) {
                *lease -= amount.min(*lease);
            }
        }
    }
    drop(rows);
    for ((name, id), amount) in &leases {
        if *amount > 0 {
            changes.entry((name.as_str().into(), *id)).or_default().0 += amount;
            tx.execute(
                "INSERT INTO forfeit (counter, id, amount, at_ms) VALUES (?1, ?2, ?3, ?4)",
                params![name, id, integer(*amount)?, now_ms],
            )?;
        }
    }
    tx.execute("DELETE FROM lease", [])?;
    apply(&tx, &mut changes)?;
    tx.commit()?;
    Ok(open.len())
}

/// Books what a bill says: a row beside the attempt's, and what it changes in the attempt's own windows.
pub(super) fn true_up(db: &mut Connection, correction: &Correction) -> rusqlite::Result<TrueUp> {
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let Some(attempt) = read::one(&tx, &correction.attempt)? else {
        return Ok(TrueUp::Unclear);
    };
    let change = match attempt.change_to(correction.cost) {
        Ok(change) => change,
        Err(nothing) => return Ok(nothing),
    };
    let c = correction;
    tx.execute(
        "INSERT INTO correction (attempt, cost, at_ms, source) VALUES (?1, ?2, ?3, ?4)",
        params![c.attempt, integer(c.cost.0)?, c.at_ms, c.source],
    )?;
    let mut changes = Changes::new();
    for (name, id, amount) in corrections(&read::defined(&tx)?, &attempt.opening, change) {
        changes.entry((name.as_str().into(), id)).or_default().0 += amount;
    }
    apply(&tx, &mut changes)?;
    tx.commit()?;
    Ok(TrueUp::Corrected(change))
}

/// Forgets the sums of minutes and hours that have long passed; the attempts still hold them.
pub(super) fn prune(db: &Connection, now: i64) -> rusqlite::Result<()> {
    // Minutes are numbered by minutes, hours by seconds since 1970. Two days back nothing is open any more.
    let long_ago = now - 2 * 86_400;
    db.execute(
        "DELETE FROM counter WHERE (name LIKE '%|minute|%' AND id < ?1) OR (name LIKE '%|hour|%' AND id < ?2)",
        [long_ago.div_euclid(60), long_ago],
    )
    .map(drop)
}
