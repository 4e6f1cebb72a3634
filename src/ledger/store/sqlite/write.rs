//! Writing the books: each batch in one transaction.

use super::super::columns::{self, CLOSING, ColumnValue, OPENING};
use super::super::sums::{self, Groups, PastTotals, SumChanges};
use super::super::{EVER, Given, StoreAnswer, StoreWork};
use super::{OWNER, integer, learning, read};
use crate::ledger::balance::{Posting, Want};
use crate::ledger::cap::{Counter, covered};
use crate::ledger::judged::{JudgedAnswer, OUTCOMES_MAX};
use crate::ledger::prune::{self, Pass};
use crate::ledger::record::{Closed, Closing, Correction, Opening, Sum, Swept, TrueUp};
use crate::ledger::replay::{Replay, corrections, counts};
use crate::ledger::rollup::{Grain, Group};
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

/// What a transaction changes beside the rows of attempts.
#[derive(Default)]
struct BatchChanges<'w> {
    counters: Changes,
    sums: SumChanges<'w>,
}

pub(super) fn write(
    db: &mut Connection,
    groups: &mut Groups,
    works: &[&StoreWork],
) -> rusqlite::Result<Vec<StoreAnswer>> {
    let written = write_all(db, groups, works);
    if written.is_err() {
        // Those that the transaction has added are not there.
        groups.clear();
    }
    written
}

fn write_all(
    db: &mut Connection,
    groups: &mut Groups,
    works: &[&StoreWork],
) -> rusqlite::Result<Vec<StoreAnswer>> {
    for work in works {
        if let StoreWork::PagesMax(full) = work {
            limit_pages(db, *full);
        }
    }
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let mut changes = BatchChanges::default();
    let mut answers = Vec::with_capacity(works.len());
    let mut short = ShortAttempts::of(works);
    let mut rows = Rows::of(&tx)?;
    for work in works {
        answers.push(one(&tx, &mut rows, work, &mut short, &mut changes)?);
    }
    drop(rows);
    apply(&tx, &mut changes.counters)?;
    apply_sums(&tx, groups, &mut changes.sums)?;
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
            StoreWork::Close(_, closing, _) => Some(&*closing.attempt),
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
    changes: &mut BatchChanges<'w>,
) -> rusqlite::Result<StoreAnswer> {
    match work {
        StoreWork::Open(opening) => {
            if !short.keep(opening) {
                rows.insert(opening)?;
            }
        }
        StoreWork::Close(opening, closing, postings) => {
            let written = match short.open.remove(&*closing.attempt) {
                Some(opening) => rows.insert_closed(opening, closing)?,
                None => 0,
            };
            // Only an open row can be closed: a second close changes nothing and spends nothing.
            if written == 1 || rows.close(closing)? == 1 {
                note(&mut changes.counters, postings);
                add_up(tx, &mut changes.sums, opening, closing)?;
            }
        }
        StoreWork::Return(postings) => note(&mut changes.counters, postings),
        StoreWork::Lease(wants) => {
            apply(tx, &mut changes.counters)?;
            let given = wants
                .iter()
                .map(|want| lease(tx, want))
                .collect::<Result<_, _>>()?;
            return Ok(StoreAnswer::Leases(0, given));
        }
        StoreWork::Recall(asked) => {
            apply(tx, &mut changes.counters)?;
            return Ok(StoreAnswer::Sums(recall(tx, asked)?));
        }
        StoreWork::Define { counters, now } => {
            apply(tx, &mut changes.counters)?;
            return Ok(StoreAnswer::Sums(define(tx, counters, *now)?));
        }
        StoreWork::Expire { before_ms, most } => expire(tx, *before_ms, *most)?,
        StoreWork::Prune { pass, now } => prune(tx, pass, *now)?,
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
        StoreWork::Judge(outcomes) => judge(tx, outcomes)?,
        StoreWork::Measure(asks) => learning::measure(tx, asks)?,
        StoreWork::Beat | StoreWork::Flush | StoreWork::PagesMax(_) => {}
    }
    Ok(StoreAnswer::Done)
}

/// Keeps outcomes, each in the place of an earlier one of the same request, arm and judge. The oldest go where there are too many.
fn judge(tx: &Transaction<'_>, outcomes: &[JudgedAnswer]) -> rusqlite::Result<()> {
    let mut keep = tx.prepare_cached(
        "INSERT INTO outcome (request, model, effort, judged_by, task, difficulty_milli, score_ppm, cost, seen_ppm, at_ms, key)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (request, judged_by, model, effort) DO UPDATE SET task = excluded.task, difficulty_milli = excluded.difficulty_milli,
             score_ppm = excluded.score_ppm, cost = excluded.cost, seen_ppm = excluded.seen_ppm, at_ms = excluded.at_ms, key = excluded.key",
    )?;
    for o in outcomes {
        let cost = o.cost.map(|cost| integer(cost.0)).transpose()?;
        keep.execute(params![
            o.request,
            o.model,
            o.effort.name(),
            o.by.name(),
            o.task,
            o.difficulty_milli,
            o.score_ppm,
            cost,
            o.seen_ppm,
            o.at_ms,
            o.key
        ])?;
    }
    tx.prepare_cached("DELETE FROM outcome WHERE id <= (SELECT MAX(id) FROM outcome) - ?1")?
        .execute([OUTCOMES_MAX])
        .map(drop)
}

/// The same for a command.
pub(super) fn keep_outcomes(
    db: &mut Connection,
    outcomes: &[JudgedAnswer],
) -> rusqlite::Result<()> {
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    judge(&tx, outcomes)?;
    tx.commit()
}

/// Adds an attempt that has just ended to the sums. A request counts once, with its last attempt.
fn add_up<'w>(
    tx: &Transaction<'_>,
    sums: &mut SumChanges<'w>,
    opening: &'w Opening,
    closing: &'w Closing,
) -> rusqlite::Result<()> {
    let attempt = &*opening.attempt;
    let followed = sums::may_be_followed(closing) && read::followers(tx, attempt, "")? > 0;
    sums.ended(&Closed {
        opening,
        closing,
        trued_up: None,
        followed,
    });
    match closing.is_aside() {
        true => Ok(()),
        false => overtake(tx, sums, opening),
    }
}

/// Takes the request from the attempt before this one, if this is the first to have come after it.
fn overtake(
    tx: &Transaction<'_>,
    sums: &mut SumChanges<'_>,
    opening: &Opening,
) -> rusqlite::Result<()> {
    let from = &*opening.escalated_from;
    if from.is_empty() || read::followers(tx, from, &opening.attempt)? > 0 {
        return Ok(());
    }
    if let Some(before) = read::one(tx, from)? {
        sums.overtaken(&before);
    }
    Ok(())
}

static ADD_SUMS: LazyLock<[(Grain, String); 2]> = LazyLock::new(|| {
    Grain::ALL.map(|grain| {
        let table = read::sums_table(grain);
        let names = sums::columns(|name, _| name.to_owned());
        let places = sums::columns(|_, n| format!("?{}", n + 3));
        let added = sums::columns(|name, _| format!("{name} = {name} + excluded.{name}"));
        let text = format!(
            "INSERT INTO {table} (at, grp, {names}) VALUES (?1, ?2, {places}) ON CONFLICT (at, grp) DO UPDATE SET {added}"
        );
        (grain, text)
    })
});

/// Writes what was gathered.
fn apply_sums(
    tx: &Transaction<'_>,
    groups: &mut Groups,
    changes: &mut SumChanges<'_>,
) -> rusqlite::Result<()> {
    let all = changes.take(groups, |group| group_row(tx, group))?;
    for ((_, rows), (_, text)) in all.iter().zip(&*ADD_SUMS) {
        if rows.is_empty() {
            continue;
        }
        let mut statement = tx.prepare_cached(text)?;
        for ((at, group), amounts) in rows {
            statement.raw_bind_parameter(1, at)?;
            statement.raw_bind_parameter(2, group)?;
            for (value, n) in amounts.values().into_iter().zip(3..) {
                statement.raw_bind_parameter(n, integer(value)?)?;
            }
            statement.raw_execute()?;
        }
    }
    Ok(())
}

/// The row of a group, which is made where there is none.
fn group_row(tx: &Transaction<'_>, group: &Group<'_>) -> rusqlite::Result<i64> {
    let name = group.text();
    let found = tx
        .prepare_cached("SELECT id FROM rollup_group WHERE name = ?1")?
        .query_row([&name], |row| row.get(0))
        .optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    tx.prepare_cached("INSERT INTO rollup_group (name) VALUES (?1)")?
        .execute([&name])?;
    Ok(tx.last_insert_rowid())
}

/// Groups gathered before they are written, while old attempts are added up.
const FILLED_AT_ONCE: usize = 50_000;

/// Adds up every attempt of books from before sums were kept.
pub(super) fn fill_sums(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let (mut groups, mut sums) = (Groups::default(), SumChanges::default());
    let mut failed = Ok(());
    read::walk_between(tx, EVER, &mut |attempt| {
        if let Some(closed) = attempt.closed() {
            sums.ended_owned(&closed);
        }
        if sums.len() >= FILLED_AT_ONCE {
            failed = apply_sums(tx, &mut groups, &mut sums);
        }
        failed.is_ok()
    })?;
    failed?;
    apply_sums(tx, &mut groups, &mut sums)
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

/// What is posted in these counters.
fn recall(tx: &Transaction<'_>, asked: &[(Arc<str>, i64)]) -> rusqlite::Result<Vec<Sum>> {
    let mut found = Vec::with_capacity(asked.len());
    let mut read = tx.prepare_cached("SELECT posted FROM counter WHERE name = ?1 AND id = ?2")?;
    for (counter, id) in asked {
        let posted = read.query_row(params![counter, id], |row| row.get::<_, i64>(0));
        if let Some(posted) = posted.optional()? {
            found.push(Sum {
                counter: counter.to_string(),
                id: *id,
                posted: i128::from(posted),
                leased: 0,
            });
        }
    }
    Ok(found)
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
    let past = PastTotals::of(&new);
    forget_carried(tx, &new)?;
    let mut replay = Replay::running(new, now);
    read::walk_between(tx, replay.from_ms()..i64::MAX, &mut |attempt| {
        replay.add(&attempt);
        true
    })?;
    for sum in carry_totals(tx, past)? {
        replay.add_sum(&sum);
    }
    let sums = replay.sums();
    for sum in &sums {
        tx.execute(
            "INSERT INTO counter (name, id, posted) VALUES (?1, ?2, ?3)",
            params![sum.counter, sum.id, integer(sum.posted)?],
        )?;
    }
    Ok(sums)
}

/// What deleted attempts had added to an earlier life of counters that begin again.
fn forget_carried(tx: &Transaction<'_>, new: &[Counter]) -> rusqlite::Result<()> {
    for sum in read::carried(tx)?
        .iter()
        .filter(|s| covered(&s.counter, new))
    {
        tx.execute(
            "DELETE FROM carried WHERE name = ?1 AND id = ?2",
            params![sum.counter, sum.id],
        )?;
    }
    Ok(())
}

/// What deleted attempts would have added to new counters without a window, as their days' sums tell. It is noted as theirs.
fn carry_totals(tx: &Transaction<'_>, mut past: PastTotals) -> rusqlite::Result<Vec<Sum>> {
    let from_ms = read::kept_from(tx)?;
    if past.is_idle() || from_ms == i64::MIN {
        return Ok(Vec::new());
    }
    let groups: BTreeMap<i64, Group<'static>> = read::groups_after(tx, 0)?.into_iter().collect();
    let days = i64::MIN..Grain::Day.of(from_ms);
    read::rollups(tx, Grain::Day, days, &mut |_, id, amounts| {
        if let Some(group) = groups.get(&id) {
            past.add(group, amounts);
        }
    })?;
    read::walk_between(tx, i64::MIN..from_ms, &mut |attempt| {
        past.is_there(&attempt);
        true
    })?;
    let mut sums = Vec::new();
    for (counter, posted) in past.sums() {
        carry(tx, &counter, 0, posted)?;
        sums.push(Sum {
            counter,
            id: 0,
            posted,
            leased: 0,
        });
    }
    Ok(sums)
}

fn carry(tx: &Transaction<'_>, name: &str, id: i64, amount: i128) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO carried (name, id, amount) VALUES (?1, ?2, ?3)
         ON CONFLICT (name, id) DO UPDATE SET amount = amount + excluded.amount",
    )?
    .execute(params![name, id, integer(amount)?])
    .map(drop)
}

/// Deletes some of the attempts from before an instant. What they have added to counters is carried on in their place.
fn expire(tx: &Transaction<'_>, before_ms: i64, most: i64) -> rusqlite::Result<()> {
    let old = read::oldest(tx, before_ms, most)?;
    let hours = tx
        .prepare_cached(
            "DELETE FROM rollup_hour WHERE at = (SELECT MIN(at) FROM rollup_hour) AND at < ?1",
        )?
        .execute([Grain::Hour.of(before_ms)])?;
    if old.is_empty() && hours == 0 {
        return Ok(());
    }
    tx.prepare_cached(
        "INSERT INTO kept (one, from_ms) VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET from_ms = MAX(from_ms, excluded.from_ms)",
    )?
    .execute([before_ms])?;
    let counters = read::defined(tx)?;
    let mut carried: BTreeMap<(String, i64), i128> = BTreeMap::new();
    for attempt in &old {
        for (at, amount) in sums::left_behind(&counters, attempt) {
            *carried.entry(at).or_default() += amount;
        }
        for table in ["correction", "attempt"] {
            tx.prepare_cached(&format!("DELETE FROM {table} WHERE attempt = ?1"))?
                .execute([&attempt.opening.attempt])?;
        }
    }
    for ((name, id), amount) in carried {
        carry(tx, &name, id, amount)?;
    }
    Ok(())
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
/// else of its leases it did not give back. Tells which attempts.
pub(super) fn sweep(
    db: &mut Connection,
    groups: &mut Groups,
    now_ms: i64,
) -> rusqlite::Result<Vec<Swept>> {
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let counters = read::defined(&tx)?;
    let open = read::open_attempts(&tx)?;
    let mut leases = read::leases(&tx)?;
    let mut changes = Changes::new();
    let mut sums = SumChanges::default();
    let mut rows = Rows::of(&tx)?;
    let swept: Vec<Swept> = open.into_iter().map(Swept::from).collect();
    for Swept { opening, closing } in &swept {
        rows.close(closing)?;
        add_up(&tx, &mut sums, opening, closing)?;
        for (name, id, amount) in counts(&counters, opening, closing) {
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
    apply_sums(&tx, groups, &mut sums)?;
    drop(sums);
    tx.commit()?;
    Ok(swept)
}

/// Books what a bill says: a row beside the attempt's, and what it changes in the attempt's own windows.
pub(super) fn true_up(
    db: &mut Connection,
    groups: &mut Groups,
    correction: &Correction,
) -> rusqlite::Result<TrueUp> {
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
    let mut sums = SumChanges::default();
    sums.corrected(&attempt, c.cost);
    apply_sums(&tx, groups, &mut sums)?;
    tx.commit()?;
    Ok(TrueUp::Corrected(change))
}

/// Forgets a few of the sums that may be forgotten.
fn prune(tx: &Transaction<'_>, pass: &Pass, now: i64) -> rusqlite::Result<()> {
    if !pass.is_due(now) {
        return Ok(());
    }
    let (name, id) = pass.after();
    let looked_at: Vec<(String, i64)> = tx
        .prepare_cached(
            "SELECT name, id FROM counter WHERE (name, id) > (?1, ?2) ORDER BY name, id LIMIT ?3",
        )?
        .query_map(params![name, id, prune::STEP], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut forget = tx.prepare_cached("DELETE FROM counter WHERE name = ?1 AND id = ?2")?;
    for (name, id) in &looked_at {
        if prune::is_forgotten(name, *id, now) {
            forget.execute(params![name, id])?;
        }
    }
    pass.looked_at(&looked_at, now);
    Ok(())
}
