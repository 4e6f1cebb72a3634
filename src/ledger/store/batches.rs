//! Where batches and their files are kept: beside the books, in a database of their own where those are SQLite's, and in tables of their
//! own where those are PostgreSQL's.
//!
//! SQLite lets one connection write at a time, and every request under a cap waits for the ledger's: a file of 200 MB must not stand in its
//! way, so batches have a file of their own, as durable as the ledger's. PostgreSQL has room for both, and its replicas share what is there.
//! Both are spoken to in the same SQL, with the parameters `$1`, `$2`, …

use crate::batch::{BatchRow, FileRow, LineRow, LineState, PartRow};
use crate::dialect::batch::{BatchState, Counts};
use crate::error::{Error, Kind};

/// What this flyball writes.
const SCHEMA_VERSION: i64 = 2;
/// Rows that are looked at or written at a time.
pub const PAGE: i64 = 100;
/// No further row is read into a page that has so many bytes: a line may be as long as a request.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// The tables. `BLOB` stands for whatever the database calls bytes.
const SCHEMA: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS fb_batch_schema (one BIGINT PRIMARY KEY, version BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS fb_batch_file (id TEXT PRIMARY KEY, key BIGINT NOT NULL, name TEXT NOT NULL, purpose TEXT NOT NULL, bytes BIGINT NOT NULL, created BIGINT NOT NULL, expires BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS fb_batch_chunk (file TEXT NOT NULL, n BIGINT NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (file, n))",
    "CREATE TABLE IF NOT EXISTS fb_batch (id TEXT PRIMARY KEY, key BIGINT NOT NULL, state TEXT NOT NULL, created BIGINT NOT NULL, doc TEXT NOT NULL, owner TEXT NOT NULL, owned_until BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS fb_batch_part (batch TEXT NOT NULL, n BIGINT NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (batch, n))",
    "CREATE TABLE IF NOT EXISTS fb_batch_line (batch TEXT NOT NULL, n BIGINT NOT NULL, custom_id TEXT NOT NULL, part BIGINT NOT NULL, state BIGINT NOT NULL, body TEXT NOT NULL, out TEXT NOT NULL, result TEXT NOT NULL, doc TEXT NOT NULL, input BIGINT NOT NULL, cached BIGINT NOT NULL, output BIGINT NOT NULL, reasoning BIGINT NOT NULL, PRIMARY KEY (batch, n))",
    "CREATE INDEX IF NOT EXISTS fb_batch_line_part ON fb_batch_line (batch, part, n)",
    "CREATE INDEX IF NOT EXISTS fb_batch_line_state ON fb_batch_line (batch, state, n)",
    "CREATE INDEX IF NOT EXISTS fb_batch_of_key ON fb_batch (key, created)",
    "CREATE TABLE IF NOT EXISTS fb_waiting (request TEXT PRIMARY KEY, key BIGINT NOT NULL, batch TEXT NOT NULL, n BIGINT NOT NULL, created BIGINT NOT NULL, expires BIGINT NOT NULL, open BIGINT NOT NULL, gone BIGINT NOT NULL, hook BIGINT NOT NULL, tries BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS fb_job (id TEXT PRIMARY KEY, key BIGINT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, created BIGINT NOT NULL, expires BIGINT NOT NULL, bytes BIGINT NOT NULL, doc TEXT NOT NULL, owner TEXT NOT NULL, owned_until BIGINT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS fb_job_state ON fb_job (state, kind)",
    "CREATE INDEX IF NOT EXISTS fb_job_key ON fb_job (key, created)",
    "CREATE INDEX IF NOT EXISTS fb_job_expires ON fb_job (expires)",
    "CREATE INDEX IF NOT EXISTS fb_waiting_open ON fb_waiting (open, key)",
    "CREATE INDEX IF NOT EXISTS fb_waiting_hook ON fb_waiting (hook)",
    "CREATE INDEX IF NOT EXISTS fb_waiting_batch ON fb_waiting (batch)",
    "CREATE INDEX IF NOT EXISTS fb_batch_file_of_key ON fb_batch_file (key)",
];

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl From<i64> for Cell {
    fn from(n: i64) -> Cell {
        Cell::Int(n)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }
}

impl Cell {
    pub(super) fn int(&self) -> i64 {
        match self {
            Cell::Int(n) => *n,
            Cell::Text(_) | Cell::Bytes(_) => 0,
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Int(n) => n.to_string(),
            Cell::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        }
    }
}

/// One statement with its parameters.
pub(super) type Statement = (&'static str, Vec<Cell>);

/// A database that knows SQL.
pub(super) trait Database: Send {
    /// Makes the tables, where there are none.
    fn lay_out(&mut self, schema: &[&str]) -> Result<(), String>;
    /// All or nothing; durable on return. Gives how many rows each has changed. Where the guard, which goes first, changes no row, nothing
    /// is written and there is nothing to give.
    fn write(
        &mut self,
        guard: Option<&Statement>,
        statements: &[Statement],
    ) -> Result<Option<Vec<u64>>, String>;
    /// The rows of a look, as many as fit into so many bytes, the first at least.
    fn read(
        &mut self,
        sql: &'static str,
        of: &[Cell],
        bytes_max: usize,
    ) -> Result<Vec<Vec<Cell>>, String>;
}

/// Whose work on a batch it is. Everything that a worker writes is written in one transaction with the look whether the batch is still its
/// own; so nothing is written by one that was stopped for a while, or cut off, and whose batch another process has taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The batch.
    pub batch: String,
    /// The worker: another one each time that a batch is taken up.
    pub worker: String,
}

impl Claim {
    /// Changes the batch's row, to the same, only while it is the worker's. PostgreSQL locks the row until the transaction ends, so that
    /// nobody takes the batch over in between.
    fn guard(&self) -> Statement {
        let sql = "UPDATE fb_batch SET owner = $2 WHERE id = $1 AND owner = $2";
        (
            sql,
            vec![self.batch.as_str().into(), self.worker.as_str().into()],
        )
    }
}

/// The code of the error that somebody else works on the batch now.
pub const TAKEN_OVER: &str = "batch_taken_over";

fn taken_over() -> Error {
    Error::new(
        Kind::Overloaded,
        "The batch was taken over by another process; it goes on there.",
    )
    .code(TAKEN_OVER)
}

impl Cell {
    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Cell::Int(_) => 8,
            Cell::Text(text) => text.len(),
            Cell::Bytes(bytes) => bytes.len(),
        }
    }
}

/// Batches and their files.
pub struct Batches {
    database: Box<dyn Database>,
}

pub(super) fn failed(why: String) -> Error {
    Error::new(Kind::Overloaded, "batches cannot be kept at this moment").detail(why)
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn file(row: &[Cell]) -> FileRow {
    FileRow {
        id: row[0].text(),
        key: row[1].int(),
        name: row[2].text(),
        purpose: row[3].text(),
        bytes: row[4].int(),
        created: row[5].int(),
        expires: row[6].int(),
    }
}

fn state(name: &str) -> BatchState {
    let found = BatchState::ALL.into_iter().find(|s| s.name() == name);
    found.unwrap_or(BatchState::Failed)
}

fn batch(row: &[Cell]) -> Result<BatchRow, Error> {
    let doc = serde_json::from_str(&row[4].text());
    Ok(BatchRow {
        id: row[0].text(),
        key: row[1].int(),
        state: state(&row[2].text()),
        created: row[3].int(),
        doc: doc.map_err(|e| failed(format!("a batch cannot be read: {e}")))?,
    })
}

fn line(row: &[Cell]) -> Result<LineRow, Error> {
    let doc = serde_json::from_str(&row[7].text());
    Ok(LineRow {
        n: row[0].int(),
        custom_id: row[1].text(),
        part: row[2].int(),
        state: LineState::of(row[3].int()),
        body: row[4].text(),
        out: row[5].text(),
        result: row[6].text(),
        doc: doc.map_err(|e| failed(format!("a line of a batch cannot be read: {e}")))?,
    })
}

fn put_line(batch: &str, line: &LineRow) -> Statement {
    let [input, cached, output, reasoning] = line.doc.used;
    (
        "INSERT INTO fb_batch_line (batch, n, custom_id, part, state, body, out, result, doc, input, cached, output, reasoning) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         ON CONFLICT (batch, n) DO UPDATE SET part = excluded.part, state = excluded.state, out = excluded.out, result = excluded.result, doc = excluded.doc, input = excluded.input, cached = excluded.cached, output = excluded.output, reasoning = excluded.reasoning",
        vec![
            batch.into(),
            line.n.into(),
            line.custom_id.as_str().into(),
            line.part.into(),
            line.state.number().into(),
            line.body.as_str().into(),
            line.out.as_str().into(),
            line.result.as_str().into(),
            Cell::Text(json(&line.doc)),
            input.into(),
            cached.into(),
            output.into(),
            reasoning.into(),
        ],
    )
}

fn put_part(batch: &str, part: &PartRow) -> Statement {
    (
        "INSERT INTO fb_batch_part (batch, n, doc) VALUES ($1, $2, $3) ON CONFLICT (batch, n) DO UPDATE SET doc = excluded.doc",
        vec![batch.into(), part.n.into(), Cell::Text(json(part))],
    )
}

/// The file of the lines that came with the call that made this batch.
#[must_use]
pub fn lines_file(batch: &str) -> String {
    format!("{batch}-lines")
}

/// Which lines of a batch are looked at.
#[derive(Clone, Copy, Debug)]
pub enum Of {
    /// All of them, with their results and without what was asked.
    Results,
    /// Those of one part that have come so far.
    Part(i64, LineState),
    /// Those that have come so far.
    State(LineState),
}

impl Batches {
    pub(super) fn over(mut database: Box<dyn Database>) -> Result<Batches, Error> {
        database.lay_out(SCHEMA).map_err(failed)?;
        let mut batches = Batches { database };
        batches.write(&[(
            "INSERT INTO fb_batch_schema (one, version) VALUES (1, $1) ON CONFLICT DO NOTHING",
            vec![SCHEMA_VERSION.into()],
        )])?;
        // What version 1 lacks are tables, which were made just now.
        batches.write(&[(
            "UPDATE fb_batch_schema SET version = $1 WHERE one = 1 AND version < $1",
            vec![SCHEMA_VERSION.into()],
        )])?;
        let found = batches.read("SELECT version FROM fb_batch_schema WHERE one = 1", &[])?;
        match found.first().map_or(0, |row| row[0].int()) {
            SCHEMA_VERSION => Ok(batches),
            found => Err(failed(format!(
                "batches are kept in schema {found}, this flyball writes {SCHEMA_VERSION}; use the newer flyball that wrote them"
            ))),
        }
    }

    pub(super) fn write(&mut self, statements: &[Statement]) -> Result<Vec<u64>, Error> {
        let changed = self.database.write(None, statements).map_err(failed)?;
        Ok(changed.unwrap_or_default())
    }

    /// Writes for a worker, while the batch is its own.
    fn write_as(&mut self, claim: &Claim, statements: &[Statement]) -> Result<Vec<u64>, Error> {
        let changed = self.database.write(Some(&claim.guard()), statements);
        changed.map_err(failed)?.ok_or_else(taken_over)
    }

    pub(super) fn read(&mut self, sql: &'static str, of: &[Cell]) -> Result<Vec<Vec<Cell>>, Error> {
        self.database.read(sql, of, usize::MAX).map_err(failed)
    }

    /// Keeps a piece of a file.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_chunk(&mut self, file: &str, n: i64, bytes: Vec<u8>) -> Result<(), Error> {
        let row = vec![file.into(), n.into(), Cell::Bytes(bytes)];
        let sql = "INSERT INTO fb_batch_chunk (file, n, bytes) VALUES ($1, $2, $3)";
        self.write(&[(sql, row)]).map(drop)
    }

    /// A piece of a file.
    ///
    /// # Errors
    /// The database fails.
    pub fn chunk(&mut self, file: &str, n: i64) -> Result<Option<Vec<u8>>, Error> {
        let sql = "SELECT bytes FROM fb_batch_chunk WHERE file = $1 AND n = $2";
        let rows = self.read(sql, &[file.into(), n.into()])?;
        Ok(rows.into_iter().flatten().find_map(|cell| match cell {
            Cell::Bytes(bytes) => Some(bytes),
            Cell::Int(_) | Cell::Text(_) => None,
        }))
    }

    /// A file all of whose pieces are kept, of this key, which keeps so many bytes at most. Gives whether it fits in.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_file(&mut self, file: &FileRow, of: i64, most: i64) -> Result<bool, Error> {
        if self.kept_bytes(of)?.saturating_add(file.bytes) > most {
            return Ok(false);
        }
        let row = vec![
            file.id.as_str().into(),
            file.key.into(),
            file.name.as_str().into(),
            file.purpose.as_str().into(),
            file.bytes.into(),
            file.created.into(),
            file.expires.into(),
        ];
        let sql = "INSERT INTO fb_batch_file (id, key, name, purpose, bytes, created, expires) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        self.write(&[(sql, row)]).map(|_| true)
    }

    /// How many bytes of files this key keeps, those of lines that came with a batch among them.
    ///
    /// # Errors
    /// The database fails.
    pub fn kept_bytes(&mut self, key: i64) -> Result<i64, Error> {
        let sql = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM fb_batch_file WHERE key = $1
             UNION ALL SELECT CAST(COALESCE(SUM(f.bytes), 0) AS BIGINT) FROM fb_batch b JOIN fb_batch_file f ON f.id = b.id || '-lines' AND f.key = -1 WHERE b.key = $1";
        let rows = self.read(sql, &[key.into()])?;
        let sums = rows.iter().filter_map(|row| row.first());
        Ok(sums.map(Cell::int).fold(0, i64::saturating_add))
    }

    /// A file of this key.
    ///
    /// # Errors
    /// The database fails.
    pub fn file(&mut self, key: i64, id: &str) -> Result<Option<FileRow>, Error> {
        let sql = "SELECT id, key, name, purpose, bytes, created, expires FROM fb_batch_file WHERE id = $1 AND key = $2";
        let rows = self.read(sql, &[id.into(), key.into()])?;
        Ok(rows.first().map(|row| file(row)))
    }

    /// The files of this key, the latest first, after this one.
    ///
    /// # Errors
    /// The database fails.
    pub fn files(&mut self, key: i64, after: &str, most: i64) -> Result<Vec<FileRow>, Error> {
        let sql = "SELECT id, key, name, purpose, bytes, created, expires FROM fb_batch_file WHERE key = $1 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3";
        let rows = self.read(sql, &[key.into(), after.into(), most.into()])?;
        Ok(rows.iter().map(|row| file(row)).collect())
    }

    /// Forgets a file and its pieces.
    ///
    /// # Errors
    /// The database fails.
    pub fn delete_file(&mut self, id: &str) -> Result<(), Error> {
        self.write(&[
            ("DELETE FROM fb_batch_file WHERE id = $1", vec![id.into()]),
            (
                "DELETE FROM fb_batch_chunk WHERE file = $1",
                vec![id.into()],
            ),
        ])
        .map(drop)
    }

    /// Keeps a batch, or how it stands now.
    ///
    /// # Errors
    /// The database fails.
    pub fn put(&mut self, batch: &BatchRow) -> Result<(), Error> {
        let row = vec![
            batch.id.as_str().into(),
            batch.key.into(),
            batch.state.name().into(),
            batch.created.into(),
            Cell::Text(json(&batch.doc)),
        ];
        let sql = "INSERT INTO fb_batch (id, key, state, created, doc, owner, owned_until) VALUES ($1, $2, $3, $4, $5, '', 0)
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, doc = excluded.doc";
        self.write(&[(sql, row)]).map(drop)
    }

    /// Keeps a batch with one part, if it is not kept yet.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_with(&mut self, batch: &BatchRow, part: &PartRow) -> Result<(), Error> {
        let row = vec![
            batch.id.as_str().into(),
            batch.key.into(),
            batch.state.name().into(),
            batch.created.into(),
            Cell::Text(json(&batch.doc)),
        ];
        let of = vec![
            batch.id.as_str().into(),
            part.n.into(),
            Cell::Text(json(part)),
        ];
        self.write(&[
            ("INSERT INTO fb_batch (id, key, state, created, doc, owner, owned_until) VALUES ($1, $2, $3, $4, $5, '', 0) ON CONFLICT (id) DO NOTHING", row),
            ("INSERT INTO fb_batch_part (batch, n, doc) VALUES ($1, $2, $3) ON CONFLICT (batch, n) DO NOTHING", of),
        ])
        .map(drop)
    }

    /// Keeps a batch that collects requests, with its one part. It is its worker's from the beginning, until then: no other process takes it
    /// up before whoever began it has.
    ///
    /// # Errors
    /// The database fails.
    pub fn begin(
        &mut self,
        claim: &Claim,
        until: i64,
        (batch, part): (&BatchRow, &PartRow),
    ) -> Result<(), Error> {
        let row = vec![
            batch.id.as_str().into(),
            batch.key.into(),
            batch.state.name().into(),
            batch.created.into(),
            Cell::Text(json(&batch.doc)),
            claim.worker.as_str().into(),
            until.into(),
        ];
        let sql = "INSERT INTO fb_batch (id, key, state, created, doc, owner, owned_until) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        self.write(&[(sql, row), put_part(&batch.id, part)])
            .map(drop)
    }

    /// A batch that is over goes on with this part.
    ///
    /// # Errors
    /// The database fails.
    pub fn reopen(&mut self, batch: &str, part: &PartRow) -> Result<(), Error> {
        self.write(&[
            (
                "UPDATE fb_batch_part SET doc = $3 WHERE batch = $1 AND n = $2 AND EXISTS (SELECT 1 FROM fb_batch WHERE id = $1 AND state IN ('completed', 'failed', 'expired', 'cancelled'))",
                vec![batch.into(), part.n.into(), Cell::Text(json(part))],
            ),
            (
                "UPDATE fb_batch SET state = 'in_progress' WHERE id = $1 AND state IN ('completed', 'failed', 'expired', 'cancelled')",
                vec![batch.into()],
            ),
        ])
        .map(drop)
    }

    /// The client's own names of all lines of a batch, with their numbers.
    ///
    /// # Errors
    /// The database fails.
    pub fn names(&mut self, batch: &str) -> Result<Vec<(String, i64)>, Error> {
        let sql = "SELECT custom_id, n FROM fb_batch_line WHERE batch = $1";
        let rows = self.read(sql, &[batch.into()])?;
        Ok(rows
            .iter()
            .map(|row| (row[0].text(), row[1].int()))
            .collect())
    }

    /// A batch stands otherwise from now on, if it stands so. Gives whether it does. Whoever works on it says so.
    ///
    /// # Errors
    /// The database fails, or somebody else works on it.
    pub fn change(
        &mut self,
        claim: Option<&Claim>,
        batch: &BatchRow,
        was: BatchState,
    ) -> Result<bool, Error> {
        let row = vec![
            batch.id.as_str().into(),
            batch.state.name().into(),
            Cell::Text(json(&batch.doc)),
            was.name().into(),
        ];
        let sql = "UPDATE fb_batch SET state = $2, doc = $3 WHERE id = $1 AND state = $4";
        let changed = match claim {
            Some(claim) => self.write_as(claim, &[(sql, row)])?,
            None => self.write(&[(sql, row)])?,
        };
        Ok(changed.first() == Some(&1))
    }

    /// A batch.
    ///
    /// # Errors
    /// The database fails.
    pub fn batch(&mut self, id: &str) -> Result<Option<BatchRow>, Error> {
        let sql = "SELECT id, key, state, created, doc FROM fb_batch WHERE id = $1";
        let rows = self.read(sql, &[id.into()])?;
        rows.first().map(|row| batch(row)).transpose()
    }

    /// The batches of this key, or of all, the latest first, after this one. A key's are those that are kept here for it; what was passed on is
    /// among all alone.
    ///
    /// # Errors
    /// The database fails.
    pub fn batches(
        &mut self,
        key: Option<i64>,
        after: &str,
        most: i64,
    ) -> Result<Vec<BatchRow>, Error> {
        let sql = "SELECT id, key, state, created, doc FROM fb_batch WHERE (CAST($1 AS BIGINT) = -1 OR (key = CAST($1 AS BIGINT) AND id NOT LIKE 'passed-%')) AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3";
        let key = key.unwrap_or(-1);
        let rows = self.read(sql, &[key.into(), after.into(), most.into()])?;
        rows.iter().map(|row| batch(row)).collect()
    }

    /// The batches that are not over.
    ///
    /// # Errors
    /// The database fails.
    pub fn live(&mut self) -> Result<Vec<String>, Error> {
        let sql = "SELECT id FROM fb_batch WHERE state IN ('validating', 'in_progress', 'cancelling') ORDER BY id";
        let rows = self.read(sql, &[])?;
        Ok(rows.iter().map(|row| row[0].text()).collect())
    }

    /// Takes a batch for a worker until then, if nobody else has it: whose time was over before `now`, has it no more. Gives whether it has
    /// it now.
    ///
    /// # Errors
    /// The database fails.
    pub fn claim(&mut self, claim: &Claim, now: i64, until: i64) -> Result<bool, Error> {
        let sql = "UPDATE fb_batch SET owner = $2, owned_until = $4 WHERE id = $1 AND (owner = $2 OR owned_until < $3)";
        let row = vec![
            claim.batch.as_str().into(),
            claim.worker.as_str().into(),
            now.into(),
            until.into(),
        ];
        let changed = self.write(&[(sql, row)])?;
        Ok(changed.first() == Some(&1))
    }

    /// Forgets a batch, its lines, its parts, and the file of lines that came with it.
    ///
    /// # Errors
    /// The database fails.
    pub fn delete(&mut self, id: &str) -> Result<(), Error> {
        let lines = lines_file(id);
        self.write(&[
            (
                "DELETE FROM fb_batch_chunk WHERE file = $1",
                vec![lines.as_str().into()],
            ),
            (
                "DELETE FROM fb_batch_file WHERE id = $1",
                vec![lines.as_str().into()],
            ),
            (
                "DELETE FROM fb_batch_line WHERE batch = $1",
                vec![id.into()],
            ),
            (
                "DELETE FROM fb_batch_part WHERE batch = $1",
                vec![id.into()],
            ),
            ("DELETE FROM fb_waiting WHERE batch = $1", vec![id.into()]),
            ("DELETE FROM fb_batch WHERE id = $1", vec![id.into()]),
        ])
        .map(drop)
    }

    /// Forgets the lines and parts of a batch.
    ///
    /// # Errors
    /// The database fails, or somebody else works on it.
    pub fn clear(&mut self, claim: &Claim) -> Result<(), Error> {
        let id = claim.batch.as_str();
        let all = [
            (
                "DELETE FROM fb_batch_line WHERE batch = $1",
                vec![id.into()],
            ),
            (
                "DELETE FROM fb_batch_part WHERE batch = $1",
                vec![id.into()],
            ),
        ];
        self.write_as(claim, &all).map(drop)
    }

    /// Keeps lines and parts, all or none.
    ///
    /// # Errors
    /// The database fails, or somebody else works on the batch.
    pub fn save(
        &mut self,
        claim: &Claim,
        lines: &[LineRow],
        parts: &[PartRow],
    ) -> Result<(), Error> {
        let lines = lines.iter().map(|line| put_line(&claim.batch, line));
        let parts = parts.iter().map(|part| put_part(&claim.batch, part));
        let all: Vec<Statement> = lines.chain(parts).collect();
        match all.is_empty() {
            true => Ok(()),
            false => self.write_as(claim, &all).map(drop),
        }
    }

    /// A part is about to be made: its lines that wait are sent from now on.
    ///
    /// # Errors
    /// The database fails, or somebody else works on the batch.
    pub fn send(&mut self, claim: &Claim, part: &PartRow) -> Result<(), Error> {
        let sql =
            "UPDATE fb_batch_line SET state = $3 WHERE batch = $1 AND part = $2 AND state = $4";
        let lines = vec![
            claim.batch.as_str().into(),
            part.n.into(),
            LineState::Sent.number().into(),
            LineState::Waiting.number().into(),
        ];
        let all = [(sql, lines), put_part(&claim.batch, part)];
        self.write_as(claim, &all).map(drop)
    }

    /// The numbers of all lines of a part that have come so far, in their order.
    ///
    /// # Errors
    /// The database fails.
    pub fn numbers(&mut self, batch: &str, part: i64, state: LineState) -> Result<Vec<i64>, Error> {
        let sql =
            "SELECT n FROM fb_batch_line WHERE batch = $1 AND part = $2 AND state = $3 ORDER BY n";
        let rows = self.read(sql, &[batch.into(), part.into(), state.number().into()])?;
        Ok(rows.iter().map(|row| row[0].int()).collect())
    }

    /// The parts of a batch.
    ///
    /// # Errors
    /// The database fails.
    pub fn parts(&mut self, batch: &str) -> Result<Vec<PartRow>, Error> {
        let sql = "SELECT doc FROM fb_batch_part WHERE batch = $1 ORDER BY n";
        let rows = self.read(sql, &[batch.into()])?;
        let read = |row: &Vec<Cell>| {
            let doc = serde_json::from_str(&row[0].text());
            doc.map_err(|e| failed(format!("a part of a batch cannot be read: {e}")))
        };
        rows.iter().map(read).collect()
    }

    /// The parts of every batch, each with its batch's id.
    ///
    /// # Errors
    /// The database fails.
    pub fn all_parts(&mut self) -> Result<Vec<(String, PartRow)>, Error> {
        let rows = self.read("SELECT batch, doc FROM fb_batch_part", &[])?;
        let read = |row: &Vec<Cell>| {
            let doc = serde_json::from_str::<PartRow>(&row[1].text());
            let doc = doc.map_err(|e| failed(format!("a part of a batch cannot be read: {e}")));
            doc.map(|part| (row[0].text(), part))
        };
        rows.iter().map(read).collect()
    }

    /// Forgets pieces of files that never became whole: their ids begin with the first text and come before the second.
    ///
    /// # Errors
    /// The database fails.
    pub fn delete_broken(&mut self, prefix: &str, before: &str) -> Result<(), Error> {
        let sql = "DELETE FROM fb_batch_chunk WHERE file > $1 AND file < $2 AND NOT EXISTS (SELECT 1 FROM fb_batch_file f WHERE f.id = fb_batch_chunk.file)";
        self.write(&[(sql, vec![prefix.into(), before.into()])])
            .map(drop)
    }

    /// Lines of a batch in their order, after this one, a page at most: of a hundred lines, or fewer where those are long.
    ///
    /// # Errors
    /// The database fails.
    pub fn lines(&mut self, batch: &str, of: Of, after: i64) -> Result<Vec<LineRow>, Error> {
        const RESULTS: &str = "SELECT n, custom_id, part, state, '' AS body, '' AS out, result, doc FROM fb_batch_line WHERE batch = $1 AND n > $2 ORDER BY n LIMIT $3";
        const PART: &str = "SELECT n, custom_id, part, state, body, out, result, doc FROM fb_batch_line WHERE batch = $1 AND n > $2 AND part = $4 AND state = $5 ORDER BY n LIMIT $3";
        const STATE: &str = "SELECT n, custom_id, part, state, body, out, result, doc FROM fb_batch_line WHERE batch = $1 AND n > $2 AND state = $4 ORDER BY n LIMIT $3";
        let mut by = vec![batch.into(), after.into(), PAGE.into()];
        let sql = match of {
            Of::Results => RESULTS,
            Of::Part(part, state) => {
                by.push(part.into());
                by.push(state.number().into());
                PART
            }
            Of::State(state) => {
                by.push(state.number().into());
                STATE
            }
        };
        let rows = self.database.read(sql, &by, PAGE_BYTES).map_err(failed)?;
        rows.iter().map(|row| line(row)).collect()
    }

    /// One line of a batch.
    ///
    /// # Errors
    /// The database fails.
    pub fn line(&mut self, batch: &str, n: i64) -> Result<Option<LineRow>, Error> {
        let sql = "SELECT n, custom_id, part, state, body, out, result, doc FROM fb_batch_line WHERE batch = $1 AND n = $2";
        let rows = self.read(sql, &[batch.into(), n.into()])?;
        rows.first().map(|row| line(row)).transpose()
    }

    /// How many lines have come how far, and what they have used.
    ///
    /// # Errors
    /// The database fails.
    pub fn counts(&mut self, batch: &str) -> Result<Counts, Error> {
        let sql = "SELECT state, COUNT(*), CAST(SUM(input) AS BIGINT), CAST(SUM(cached) AS BIGINT), CAST(SUM(output) AS BIGINT), CAST(SUM(reasoning) AS BIGINT) FROM fb_batch_line WHERE batch = $1 GROUP BY state";
        let mut counts = Counts::default();
        for row in self.read(sql, &[batch.into()])? {
            let many = row[1].int();
            counts.total += many;
            counts.input += row[2].int();
            counts.cached += row[3].int();
            counts.output += row[4].int();
            counts.reasoning += row[5].int();
            match LineState::of(row[0].int()) {
                LineState::Done => counts.done += many,
                LineState::Failed => counts.failed += many,
                LineState::Expired => counts.expired += many,
                LineState::Cancelled => counts.cancelled += many,
                LineState::Waiting | LineState::Sent => {}
            }
        }
        Ok(counts)
    }

    /// Files whose time is over, and batches that came to their end before this; both in seconds since 1970.
    ///
    /// # Errors
    /// The database fails.
    pub fn outdated(&mut self, now: i64, before: i64) -> Result<(Vec<String>, Vec<String>), Error> {
        let files = self.read(
            "SELECT id FROM fb_batch_file WHERE expires < $1 LIMIT 100",
            &[now.into()],
        )?;
        let batches = self.read(
            "SELECT id FROM fb_batch WHERE created < $1 AND state NOT IN ('validating', 'in_progress', 'cancelling') LIMIT 100",
            &[before.into()],
        )?;
        let ids = |rows: Vec<Vec<Cell>>| rows.iter().map(|row| row[0].text()).collect();
        Ok((ids(files), ids(batches)))
    }
}
