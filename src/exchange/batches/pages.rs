//! The lines of a kept file, and the bytes of a kept file or of a batch's results, a piece at a time.

use super::desk::Batches;
use crate::batch::{BatchRow, LineState};
use crate::dialect::batch::{ClientBatches, Ended, LineEnd};
use crate::error::Error;
use crate::ledger::store::batches::Of;
use bytes::Bytes;
use std::sync::Arc;

/// A piece of a file, as it is kept.
pub(super) const CHUNK: usize = 256 * 1024;

/// The lines of a file.
pub(super) struct Lines {
    file: String,
    next: i64,
    held: Vec<u8>,
    from: usize,
    over: bool,
    longest: usize,
    /// A line that is too long is being passed over.
    skips: bool,
}

impl Lines {
    pub(super) fn of(file: &str, longest: usize) -> Lines {
        Lines {
            file: file.to_owned(),
            next: 0,
            held: Vec::new(),
            from: 0,
            over: false,
            longest,
            skips: false,
        }
    }

    /// The next line; `Some(None)` for one that is too long, `None` after the last.
    pub(super) async fn next(&mut self, desk: &Batches) -> Result<Option<Option<Vec<u8>>>, Error> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.held[self.from..]) {
                let line = self.held[self.from..self.from + end].to_vec();
                self.from += end + 1;
                return Ok(Some(self.kept(line)));
            }
            self.held.drain(..self.from);
            self.from = 0;
            if self.held.len() > self.longest {
                self.held.clear();
                self.skips = true;
            }
            if self.over {
                let rest = std::mem::take(&mut self.held);
                let last = !rest.is_empty() || self.skips;
                return Ok(last.then(|| self.kept(rest)));
            }
            let (file, n) = (self.file.clone(), self.next);
            match desk.with(move |store| store.chunk(&file, n)).await? {
                Some(bytes) => self.held.extend(bytes),
                None => self.over = true,
            }
            self.next += 1;
        }
    }

    fn kept(&mut self, line: Vec<u8>) -> Option<Vec<u8>> {
        let whole = !std::mem::take(&mut self.skips) && line.len() <= self.longest;
        whole.then_some(line)
    }
}

/// Which of a batch's lines are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinesTold {
    /// Those with an answer.
    Answers,
    /// Those without one.
    Errors,
    /// All of them.
    All,
}

/// The results of a batch.
pub(super) struct Results {
    pub(super) desk: Arc<Batches>,
    pub(super) words: &'static dyn ClientBatches,
    pub(super) batch: BatchRow,
    pub(super) told: LinesTold,
    pub(super) after: i64,
}

impl Results {
    /// The next page of them, in lines; nothing after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let (id, after) = (self.batch.id.clone(), self.after);
            let page = self
                .desk
                .with(move |store| store.lines(&id, Of::Results, after));
            let page = page.await?;
            let Some(last) = page.last() else {
                return Ok(None);
            };
            self.after = last.n;
            let mut out = String::new();
            for line in &page {
                let end = match line.state {
                    LineState::Done => LineEnd::Done,
                    LineState::Failed => LineEnd::Failed,
                    LineState::Expired => LineEnd::Expired,
                    LineState::Cancelled => LineEnd::Cancelled,
                    LineState::Waiting | LineState::Sent => continue,
                };
                let wanted = match self.told {
                    LinesTold::All => true,
                    LinesTold::Answers => end == LineEnd::Done,
                    LinesTold::Errors => end != LineEnd::Done,
                };
                if wanted {
                    out.push_str(&self.words.result(&Ended {
                        request: &self.batch.request_of(line.n, &line.doc),
                        custom_id: &line.custom_id,
                        end,
                        status: line.doc.status,
                        body: &line.result,
                    }));
                    out.push('\n');
                }
            }
            if !out.is_empty() {
                return Ok(Some(out.into()));
            }
        }
    }
}
