//! Answers that are made in the background: those that flyball makes and keeps itself, and those that vendors make and of whose end somebody is
//! to hear.

use super::batches::{Batches, Cell, json};
use crate::error::Error;
use serde::{Deserialize, Serialize};

/// Whose work a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// flyball asks a model and keeps what it answers.
    Own,
    /// A vendor makes and keeps the answer.
    Vendors,
}

impl JobKind {
    fn name(self) -> &'static str {
        match self {
            JobKind::Own => "own",
            JobKind::Vendors => "vendor",
        }
    }
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It is under way.
    Running,
    /// It is under way, and its client does not want it any more.
    Cancelling,
    /// It is over.
    Over,
}

impl JobState {
    fn name(self) -> &'static str {
        match self {
            JobState::Running => "running",
            JobState::Cancelling => "cancelling",
            JobState::Over => "over",
        }
    }
}

/// What is known of a job besides how it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDoc {
    /// The request that began it.
    pub request: String,
    /// Its attempt in the books, where a vendor does the work.
    pub attempt: String,
    /// The vendor's name among the providers.
    pub provider: String,
    /// The channel of it on which it was begun.
    #[serde(default)]
    pub channel: String,
    /// The model.
    pub model: String,
    /// The dialect in which it is told.
    pub dialect: String,
    /// The process that began it, whose memory has its reservation.
    pub process: String,
    /// The answer as it stood when it was begun.
    pub response: String,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// What its client calls it.
    pub id: String,
    /// Whose it is: the key's row, 0 in open mode.
    pub key: i64,
    /// Whose work it is.
    pub kind: JobKind,
    /// How far it has come.
    pub state: JobState,
    /// Seconds since 1970.
    pub created: i64,
    /// When it is forgotten.
    pub expires: i64,
    /// What else is known.
    pub doc: JobDoc,
}

fn job(row: &[Cell]) -> Result<JobRow, Error> {
    let doc = serde_json::from_str(&row[6].text());
    let kind = [JobKind::Own, JobKind::Vendors];
    let state = [JobState::Running, JobState::Cancelling, JobState::Over];
    let (kind_name, state_name) = (row[2].text(), row[3].text());
    Ok(JobRow {
        id: row[0].text(),
        key: row[1].int(),
        kind: kind
            .into_iter()
            .find(|k| k.name() == kind_name)
            .unwrap_or(JobKind::Own),
        state: state
            .into_iter()
            .find(|s| s.name() == state_name)
            .unwrap_or(JobState::Over),
        created: row[4].int(),
        expires: row[5].int(),
        doc: doc.map_err(|e| super::batches::failed(format!("a job cannot be read: {e}")))?,
    })
}

impl Batches {
    /// Keeps a job that begins, for this process until then.
    ///
    /// # Errors
    /// The database fails, or there is one of its name.
    pub fn begin_job(&mut self, job: &JobRow, owner: &str, until: i64) -> Result<(), Error> {
        let row = vec![
            job.id.as_str().into(),
            job.key.into(),
            job.kind.name().into(),
            job.state.name().into(),
            job.created.into(),
            job.expires.into(),
            Cell::Text(json(&job.doc)),
            owner.into(),
            until.into(),
        ];
        let sql = "INSERT INTO fb_job (id, key, kind, state, created, expires, bytes, doc, owner, owned_until) VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, $9) ON CONFLICT DO NOTHING";
        self.write(&[(sql, row)]).map(drop)
    }

    /// A job, whoever's it is.
    ///
    /// # Errors
    /// The database fails.
    pub fn job(&mut self, id: &str) -> Result<Option<JobRow>, Error> {
        let sql = "SELECT id, key, kind, state, created, expires, doc FROM fb_job WHERE id = $1";
        let rows = self.read(sql, &[id.into()])?;
        rows.first().map(|row| job(row)).transpose()
    }

    /// How many jobs of this key are under way, counted up to this many.
    ///
    /// # Errors
    /// The database fails.
    pub fn jobs_under_way(&mut self, key: i64, most: i64) -> Result<i64, Error> {
        let sql = "SELECT COUNT(*) FROM (SELECT 1 AS one FROM fb_job WHERE key = $1 AND kind = 'own' AND state <> 'over' LIMIT $2) AS counted";
        let rows = self.read(sql, &[key.into(), most.into()])?;
        Ok(rows.first().map_or(0, |row| row[0].int()))
    }

    /// Jobs of this kind that are under way and that this process has, or whose own process has died: it has those, too, from now on.
    ///
    /// # Errors
    /// The database fails.
    pub fn take_jobs(
        &mut self,
        kind: JobKind,
        owner: &str,
        (now, until): (i64, i64),
    ) -> Result<Vec<JobRow>, Error> {
        self.write(&[(
            "UPDATE fb_job SET owner = $2, owned_until = $4 WHERE kind = $1 AND state <> 'over' AND (owner = $2 OR owned_until < $3)",
            vec![kind.name().into(), owner.into(), now.into(), until.into()],
        )])?;
        let sql = "SELECT id, key, kind, state, created, expires, doc FROM fb_job WHERE kind = $1 AND state <> 'over' AND owner = $2 ORDER BY id LIMIT 10000";
        let rows = self.read(sql, &[kind.name().into(), owner.into()])?;
        rows.iter().map(|row| job(row)).collect()
    }

    /// This process goes on having the jobs that it has.
    ///
    /// # Errors
    /// The database fails.
    pub fn keep_jobs(&mut self, owner: &str, until: i64) -> Result<(), Error> {
        let sql = "UPDATE fb_job SET owned_until = $2 WHERE owner = $1 AND state <> 'over'";
        self.write(&[(sql, vec![owner.into(), until.into()])])
            .map(drop)
    }

    /// A job is another process's from now on, if it was this one's; until then nobody else takes it.
    ///
    /// # Errors
    /// The database fails.
    pub fn give_job(
        &mut self,
        id: &str,
        (from, to): (&str, &str),
        until: i64,
    ) -> Result<(), Error> {
        let sql = "UPDATE fb_job SET owner = $3, owned_until = $4 WHERE id = $1 AND owner = $2";
        let row = vec![id.into(), from.into(), to.into(), until.into()];
        self.write(&[(sql, row)]).map(drop)
    }

    /// A job that is under way is to end, and to be forgotten then.
    ///
    /// # Errors
    /// The database fails.
    pub fn drop_job(&mut self, id: &str, now: i64) -> Result<(), Error> {
        let sql = "UPDATE fb_job SET state = 'cancelling', expires = $2 WHERE id = $1 AND state <> 'over'";
        self.write(&[(sql, vec![id.into(), now.into()])]).map(drop)
    }

    /// The jobs of vendors that this process has are for whoever comes next: it ends.
    ///
    /// # Errors
    /// The database fails.
    pub fn leave_jobs(&mut self, owner: &str) -> Result<(), Error> {
        let sql = "UPDATE fb_job SET owned_until = 0 WHERE owner = $1 AND kind = 'vendor' AND state <> 'over'";
        self.write(&[(sql, vec![owner.into()])]).map(drop)
    }

    /// A job's client does not want it any more.
    ///
    /// # Errors
    /// The database fails.
    pub fn cancel_job(&mut self, id: &str) -> Result<(), Error> {
        let sql = "UPDATE fb_job SET state = 'cancelling' WHERE id = $1 AND state = 'running'";
        self.write(&[(sql, vec![id.into()])]).map(drop)
    }

    /// A job is over: its answer and its events are kept, in pieces, and the oldest answers of its key are forgotten beyond so many bytes. One
    /// that has ended before stays as it ended.
    ///
    /// # Errors
    /// The database fails.
    pub fn end_job(&mut self, id: &str, pieces: Vec<Vec<u8>>, bytes_max: i64) -> Result<(), Error> {
        if self.job(id)?.is_some_and(|job| job.state == JobState::Over) {
            return Ok(());
        }
        let bytes: usize = pieces.iter().map(Vec::len).sum();
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut statements = vec![
            (
                "DELETE FROM fb_batch_chunk WHERE file = $1",
                vec![id.into()],
            ),
            (
                "UPDATE fb_job SET state = 'over', bytes = $2 WHERE id = $1",
                vec![id.into(), bytes.into()],
            ),
        ];
        for (n, piece) in (0_i64..).zip(pieces) {
            statements.push((
                "INSERT INTO fb_batch_chunk (file, n, bytes) VALUES ($1, $2, $3)",
                vec![id.into(), n.into(), Cell::Bytes(piece)],
            ));
        }
        self.write(&statements)?;
        let Some(ended) = self.job(id)? else {
            // It was deleted while it was under way.
            return self.delete_job(id);
        };
        let sql = "SELECT id, bytes FROM fb_job WHERE key = $1 AND kind = 'own' AND state = 'over' ORDER BY created DESC, id DESC";
        let mut left = bytes_max;
        for row in self.read(sql, &[ended.key.into()])? {
            left = left.saturating_sub(row[1].int());
            if left < 0 && row[0].text() != id {
                self.delete_job(&row[0].text())?;
            }
        }
        Ok(())
    }

    /// Forgets a job and its answer.
    ///
    /// # Errors
    /// The database fails.
    pub fn delete_job(&mut self, id: &str) -> Result<(), Error> {
        self.write(&[
            ("DELETE FROM fb_job WHERE id = $1", vec![id.into()]),
            (
                "DELETE FROM fb_batch_chunk WHERE file = $1",
                vec![id.into()],
            ),
        ])
        .map(drop)
    }

    /// Forgets jobs whose time is over.
    ///
    /// # Errors
    /// The database fails.
    pub fn tidy_jobs(&mut self, now: i64) -> Result<(), Error> {
        let sql = "SELECT id FROM fb_job WHERE expires < $1 LIMIT 100";
        for row in self.read(sql, &[now.into()])? {
            self.delete_job(&row[0].text())?;
        }
        Ok(())
    }
}
