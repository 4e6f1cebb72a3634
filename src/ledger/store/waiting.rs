//! Requests that were asked one by one and wait in a batch with others: where each is, and whether somebody is still to be told of its end.

use super::batches::{Batches, Cell, json};
use crate::batch::{LineRow, LineState};
use crate::error::Error;

/// So many requests are in a page.
pub const PAGE: usize = 100;
/// Nobody is to be told, or has been.
const NEVER: i64 = -1;

/// A request that waits, or has waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRow {
    /// Its id.
    pub request: String,
    /// Whose it is: the key's row, 0 in open mode.
    pub key: i64,
    /// The batch that it is in.
    pub batch: String,
    /// Which line of that it is.
    pub n: i64,
    /// When it was asked, seconds since 1970.
    pub created: i64,
    /// Its deadline, seconds since 1970.
    pub expires: i64,
    /// Its asker does not want its answer any more.
    pub gone: bool,
    /// How often somebody was to be told of its end.
    pub tries: i64,
}

/// Somebody who is to be told that a request has come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueHook {
    /// The request.
    pub row: WaitingRow,
    /// How its line has ended.
    pub state: LineState,
    /// Since when it is to be told, seconds since 1970: known again where another process tells it first.
    pub since: i64,
}

fn waiting(row: &[Cell]) -> WaitingRow {
    WaitingRow {
        request: row[0].text(),
        key: row[1].int(),
        batch: row[2].text(),
        n: row[3].int(),
        created: row[4].int(),
        expires: row[5].int(),
        gone: row[6].int() != 0,
        tries: row[7].int(),
    }
}

impl Batches {
    /// Puts a request into a batch that still collects, as its worker: in the process of another one nobody would find its room. Gives whether
    /// it does.
    ///
    /// # Errors
    /// The database fails.
    pub fn join(&mut self, worker: &str, line: &LineRow, row: &WaitingRow) -> Result<bool, Error> {
        let batch = row.batch.as_str();
        let changed = self.write(&[
            // Whoever ends the collecting waits for this, or has done it before: then nothing matches here, nor below.
            (
                "UPDATE fb_batch SET state = state WHERE id = $1 AND state = 'validating' AND owner = $2",
                vec![batch.into(), worker.into()],
            ),
            (
                "INSERT INTO fb_batch_line (batch, n, custom_id, part, state, body, out, result, doc, input, cached, output, reasoning) SELECT CAST($1 AS TEXT), CAST($2 AS BIGINT), CAST($3 AS TEXT), CAST($4 AS BIGINT), CAST($5 AS BIGINT), CAST($6 AS TEXT), CAST($7 AS TEXT), '', CAST($8 AS TEXT), 0, 0, 0, 0 WHERE EXISTS (SELECT 1 FROM fb_batch WHERE id = CAST($1 AS TEXT) AND state = 'validating' AND owner = CAST($9 AS TEXT))",
                vec![
                    batch.into(),
                    line.n.into(),
                    line.custom_id.as_str().into(),
                    line.part.into(),
                    line.state.number().into(),
                    line.body.as_str().into(),
                    line.out.as_str().into(),
                    Cell::Text(json(&line.doc)),
                    worker.into(),
                ],
            ),
            (
                "INSERT INTO fb_waiting (request, key, batch, n, created, expires, open, gone, hook, tries) SELECT CAST($1 AS TEXT), CAST($2 AS BIGINT), CAST($3 AS TEXT), CAST($4 AS BIGINT), CAST($5 AS BIGINT), CAST($6 AS BIGINT), 1, 0, -1, 0 WHERE EXISTS (SELECT 1 FROM fb_batch WHERE id = CAST($3 AS TEXT) AND state = 'validating' AND owner = CAST($7 AS TEXT))",
                vec![
                    row.request.as_str().into(),
                    row.key.into(),
                    batch.into(),
                    row.n.into(),
                    row.created.into(),
                    row.expires.into(),
                    worker.into(),
                ],
            ),
        ])?;
        Ok(changed.last() == Some(&1))
    }

    /// A request of this key that waits or has waited.
    ///
    /// # Errors
    /// The database fails.
    pub fn waiting(&mut self, key: i64, request: &str) -> Result<Option<WaitingRow>, Error> {
        let sql = "SELECT request, key, batch, n, created, expires, gone, tries FROM fb_waiting WHERE request = $1 AND key = $2";
        let rows = self.read(sql, &[request.into(), key.into()])?;
        Ok(rows.first().map(|row| waiting(row)))
    }

    /// How many requests of this key wait, counted up to this many.
    ///
    /// # Errors
    /// The database fails.
    pub fn waiting_of(&mut self, key: i64, most: i64) -> Result<i64, Error> {
        let sql = "SELECT COUNT(*) FROM (SELECT 1 AS one FROM fb_waiting WHERE open = 1 AND key = $1 LIMIT $2) AS counted";
        let rows = self.read(sql, &[key.into(), most.into()])?;
        Ok(rows.first().map_or(0, |row| row[0].int()))
    }

    /// Takes a request out of a batch that still collects. Gives whether it did: nothing of it goes out then.
    ///
    /// # Errors
    /// The database fails.
    pub fn take_back(&mut self, row: &WaitingRow) -> Result<bool, Error> {
        let batch = row.batch.as_str();
        let changed = self.write(&[
            (
                "UPDATE fb_batch SET state = state WHERE id = $1 AND state = 'validating'",
                vec![batch.into()],
            ),
            (
                "UPDATE fb_batch_line SET state = $3, out = '', body = '' WHERE batch = $1 AND n = $2 AND state = $4 AND EXISTS (SELECT 1 FROM fb_batch WHERE id = $1 AND state = 'validating')",
                vec![
                    batch.into(),
                    row.n.into(),
                    LineState::Cancelled.number().into(),
                    LineState::Waiting.number().into(),
                ],
            ),
        ])?;
        Ok(changed.last() == Some(&1))
    }

    /// Nobody wants the answer of a request any more. Gives whether others in its batch are still waited for.
    ///
    /// # Errors
    /// The database fails.
    pub fn forget_waiting(&mut self, row: &WaitingRow) -> Result<bool, Error> {
        self.write(&[
            (
                "UPDATE fb_waiting SET gone = 1, hook = $2 WHERE request = $1",
                vec![row.request.as_str().into(), NEVER.into()],
            ),
            (
                "UPDATE fb_batch_line SET result = '', body = '' WHERE batch = $1 AND n = $2 AND state >= $3",
                vec![
                    row.batch.as_str().into(),
                    row.n.into(),
                    LineState::Done.number().into(),
                ],
            ),
        ])?;
        let sql = "SELECT l.n FROM fb_waiting w JOIN fb_batch_line l ON l.batch = w.batch AND l.n = w.n WHERE w.batch = $1 AND w.gone = 0 AND l.state < $2 LIMIT 1";
        let others = self.read(
            sql,
            &[row.batch.as_str().into(), LineState::Done.number().into()],
        )?;
        Ok(!others.is_empty())
    }

    /// The lines of a batch whose askers do not want their answers any more.
    ///
    /// # Errors
    /// The database fails.
    pub fn gone(&mut self, batch: &str) -> Result<Vec<i64>, Error> {
        let sql = "SELECT n FROM fb_waiting WHERE batch = $1 AND gone = 1";
        let rows = self.read(sql, &[batch.into()])?;
        Ok(rows.iter().map(|row| row[0].int()).collect())
    }

    /// Requests whose lines have come to their end since it was looked last, a page of them at most. Texts of what nobody wants any more are
    /// forgotten.
    ///
    /// # Errors
    /// The database fails.
    pub fn newly_ended(&mut self) -> Result<Vec<WaitingRow>, Error> {
        let sql = "SELECT w.request, w.key, w.batch, w.n, w.created, w.expires, w.gone, w.tries FROM fb_waiting w JOIN fb_batch_line l ON l.batch = w.batch AND l.n = w.n WHERE w.open = 1 AND l.state >= $1 LIMIT 100";
        let rows = self.read(sql, &[LineState::Done.number().into()])?;
        Ok(rows.iter().map(|row| waiting(row)).collect())
    }

    /// Notes that the line of a request has come to its end; `told`: somebody is to be told of it, from then on.
    ///
    /// # Errors
    /// The database fails.
    pub fn note_ended(&mut self, row: &WaitingRow, told: Option<i64>) -> Result<(), Error> {
        let mut statements = vec![(
            "UPDATE fb_waiting SET open = 0, hook = $2 WHERE request = $1 AND open = 1",
            vec![
                row.request.as_str().into(),
                told.filter(|_| !row.gone).unwrap_or(NEVER).into(),
            ],
        )];
        if row.gone {
            statements.push((
                "UPDATE fb_batch_line SET result = '', body = '' WHERE batch = $1 AND n = $2",
                vec![row.batch.as_str().into(), row.n.into()],
            ));
        }
        self.write(&statements).map(drop)
    }

    /// Requests of whose end somebody is to be told by now, a page of them at most.
    ///
    /// # Errors
    /// The database fails.
    pub fn due_hooks(&mut self, now: i64) -> Result<Vec<DueHook>, Error> {
        let sql = "SELECT w.request, w.key, w.batch, w.n, w.created, w.expires, w.gone, w.tries, l.state, w.hook FROM fb_waiting w JOIN fb_batch_line l ON l.batch = w.batch AND l.n = w.n WHERE w.hook >= 0 AND w.hook <= $1 ORDER BY w.hook LIMIT 100";
        let rows = self.read(sql, &[now.into()])?;
        let due = |row: &Vec<Cell>| DueHook {
            row: waiting(row),
            state: LineState::of(row[8].int()),
            since: row[9].int(),
        };
        Ok(rows.iter().map(due).collect())
    }

    /// Takes it upon this process to tell of a request's end; whoever dies over it leaves it to others from `until` on. Gives whether nobody
    /// else has taken it.
    ///
    /// # Errors
    /// The database fails.
    pub fn take_hook(&mut self, due: &DueHook, until: i64) -> Result<bool, Error> {
        let sql =
            "UPDATE fb_waiting SET hook = $3, tries = tries + 1 WHERE request = $1 AND hook = $2";
        let row = vec![
            due.row.request.as_str().into(),
            due.since.into(),
            until.into(),
        ];
        let changed = self.write(&[(sql, row)])?;
        Ok(changed.first() == Some(&1))
    }

    /// Nobody tries to tell of a request's end before this time, which does not count as having tried.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_off_hook(&mut self, due: &DueHook, until: i64) -> Result<(), Error> {
        let sql = "UPDATE fb_waiting SET hook = $3 WHERE request = $1 AND hook = $2";
        let row = vec![
            due.row.request.as_str().into(),
            due.since.into(),
            until.into(),
        ];
        self.write(&[(sql, row)]).map(drop)
    }

    /// It was told, or will be told again at this time.
    ///
    /// # Errors
    /// The database fails.
    pub fn note_hook(&mut self, request: &str, again: Option<i64>) -> Result<(), Error> {
        let sql = "UPDATE fb_waiting SET hook = $2 WHERE request = $1 AND gone = 0";
        let row = vec![request.into(), again.unwrap_or(NEVER).into()];
        self.write(&[(sql, row)]).map(drop)
    }
}
