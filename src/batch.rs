//! Batches that flyball keeps itself: what is known of each, of its lines, and of the batches that vendors were given of them. Pure.

pub mod collecting;
pub mod course;
pub mod multipart;
pub mod part;
pub mod parts;
pub mod wire;

use crate::arm::Effort;
use crate::dialect::batch::BatchState;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// How batches are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Batches are kept here; otherwise they are passed on to the one provider that keeps them.
    pub keep: bool,
    /// What becomes of lines that are not done when their batch's time is over.
    pub late: Late,
    /// Lines that are run one by one at the same time, for models without a batch API.
    pub concurrency: usize,
    /// How often at most a vendor is asked how a batch stands.
    pub poll: Duration,
    /// The time that a batch has.
    pub window: Duration,
    /// The largest file of lines.
    pub file_bytes_max: u64,
    /// The bytes of files that one key keeps at most, bodies of batches that came with their lines among them.
    pub key_bytes_max: u64,
    /// Files and results are kept for so long.
    pub keep_for: Duration,
    /// A request that asks by itself to be answered later (`prefer: respond-async`) waits in a batch if its deadline is no shorter.
    pub wait_from: Duration,
    /// For so long requests that wait are collected, so that they share one batch of their vendor's.
    pub collect: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            keep: true,
            late: Late::Report,
            // As many as a small local server answers side by side without any of them waiting long.
            concurrency: 4,
            // A batch takes minutes at least; the first looks are closer together.
            poll: Duration::from_secs(30),
            window: Duration::from_secs(24 * 3600),
            // The vendor's own limit.
            file_bytes_max: 200 * 1024 * 1024,
            // Ten files of that size, and a little.
            key_bytes_max: 2 * 1024 * 1024 * 1024,
            // As long as OpenAI keeps files of batches by default.
            keep_for: Duration::from_secs(30 * 86_400),
            // Vendors answer most batches within an hour; what has less time would mostly be cancelled there and asked again.
            wait_from: Duration::from_secs(3_600),
            // Long enough that the requests of one job meet, and a small part of the shortest deadline.
            collect: Duration::from_secs(120),
        }
    }
}

/// What becomes of lines that are late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Late {
    /// They are reported as expired.
    #[default]
    Report,
    /// They are run one by one, at the standard price.
    Run,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRow {
    /// Its id.
    pub id: String,
    /// Whose it is: the key's row, 0 in open mode.
    pub key: i64,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// Its size in bytes.
    pub bytes: i64,
    /// Seconds since 1970.
    pub created: i64,
    /// When it is deleted.
    pub expires: i64,
}

/// A batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchRow {
    /// Its id.
    pub id: String,
    /// Whose it is: the key's row, 0 in open mode.
    pub key: i64,
    /// How it stands.
    pub state: BatchState,
    /// Seconds since 1970.
    pub created: i64,
    /// What else is known.
    pub doc: BatchDoc,
}

/// Ids of batches that were passed on to their providers begin so in the books; clients know them by their providers' ids.
pub const PASSED_PREFIX: &str = "passed-";

impl BatchRow {
    /// It was passed on to its provider unread, and is only metered here.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.id.starts_with(PASSED_PREFIX)
    }
}

/// What is known of a batch besides how it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchDoc {
    /// The client's dialect.
    pub dialect: String,
    /// The path that its lines ask for.
    pub endpoint: String,
    /// The file with its lines.
    pub input_file: String,
    /// The client's own words about it.
    pub metadata: Value,
    /// The headers that came with it and hold for each of its lines.
    pub headers: Vec<(String, String)>,
    /// When its time is over, seconds since 1970.
    pub expires: i64,
    /// For how many seconds its results are kept.
    pub results_for: i64,
    /// When work on it began.
    pub began: Option<i64>,
    /// When it was asked to be cancelled.
    pub cancelling: Option<i64>,
    /// When it came to its end.
    pub ended: Option<i64>,
    /// What is wrong with its lines.
    pub errors: Vec<Value>,
    /// It was passed on, and each of its lines was reserved before.
    #[serde(default)]
    pub reserved: bool,
    /// Its lines are requests that were asked one by one, by whomever, and that are collected until then, in seconds since 1970. `None`: it is
    /// a batch that somebody handed in.
    #[serde(default)]
    pub collects_until: Option<i64>,
}

/// The key of a batch that nobody handed in: its lines are requests that wait, each of its own asker.
pub const NOBODYS: i64 = -2;

impl BatchRow {
    /// Whose a line of it is: the key's row, 0 in open mode.
    #[must_use]
    pub fn key_of(&self, line: &LineDoc) -> i64 {
        line.asker.as_ref().map_or(self.key, |asker| asker.key)
    }

    /// The dialect of whoever reads a line's answer.
    #[must_use]
    pub fn dialect_of<'a>(&'a self, line: &'a LineDoc) -> &'a str {
        let asker = line.asker.as_ref();
        asker.map_or(&self.doc.dialect, |asker| &asker.dialect)
    }

    /// The headers that hold for a line.
    #[must_use]
    pub fn headers_of<'a>(&'a self, line: &'a LineDoc) -> &'a [(String, String)] {
        let asker = line.asker.as_ref();
        asker.map_or(&self.doc.headers, |asker| &asker.headers)
    }

    /// The request id of a line.
    #[must_use]
    pub fn request_of(&self, n: i64, line: &LineDoc) -> String {
        if let Some(asker) = &line.asker {
            return asker.request.clone();
        }
        let digits = self.id.trim_start_matches(|c: char| !c.is_ascii_digit());
        format!("{digits}-{n}")
    }
}

/// Who has asked a request by itself that waits in a batch with those of others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// The request's own id.
    pub request: String,
    /// The key's row, 0 in open mode.
    pub key: i64,
    /// The dialect in which it was asked.
    pub dialect: String,
    /// The headers that came with it and hold for it.
    pub headers: Vec<(String, String)>,
}

/// How far a line has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineState {
    /// Nothing of it has gone out.
    Waiting,
    /// It has gone out, or is about to.
    Sent,
    /// It was answered.
    Done,
    /// It was refused, or failed.
    Failed,
    /// It was not done in time.
    Expired,
    /// It was cancelled.
    Cancelled,
}

impl LineState {
    /// Every state.
    pub const ALL: [LineState; 6] = [
        LineState::Waiting,
        LineState::Sent,
        LineState::Done,
        LineState::Failed,
        LineState::Expired,
        LineState::Cancelled,
    ];

    /// The states in which a line ends.
    pub const ENDS: [LineState; 4] = [
        LineState::Done,
        LineState::Failed,
        LineState::Expired,
        LineState::Cancelled,
    ];

    /// The number in the books.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            LineState::Waiting => 0,
            LineState::Sent => 1,
            LineState::Done => 2,
            LineState::Failed => 3,
            LineState::Expired => 4,
            LineState::Cancelled => 5,
        }
    }

    /// The state of this number.
    #[must_use]
    pub fn of(number: i64) -> LineState {
        let found = LineState::ALL.into_iter().find(|s| s.number() == number);
        found.unwrap_or(LineState::Failed)
    }

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LineState::Waiting => "waiting",
            LineState::Sent => "sent",
            LineState::Done => "done",
            LineState::Failed => "failed",
            LineState::Expired => "expired",
            LineState::Cancelled => "cancelled",
        }
    }
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct LineRow {
    /// Which line of the batch, from 0.
    pub n: i64,
    /// The client's own name for it.
    pub custom_id: String,
    /// Which of the vendors' batches it is in, or [`DIRECT`].
    pub part: i64,
    /// How far it has come.
    pub state: LineState,
    /// What the client asks.
    pub body: String,
    /// What goes out to a vendor's batch.
    pub out: String,
    /// What came of it, in the client's dialect.
    pub result: String,
    /// What else is known.
    pub doc: LineDoc,
}

/// The line is run by itself, and is in no vendor's batch.
pub const DIRECT: i64 = -1;

/// What is known of a line besides its texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LineDoc {
    /// Where the client would ask it by itself.
    pub path: String,
    /// The provider's name.
    pub provider: String,
    /// The model.
    pub model: String,
    /// The effort that was decided, where one was.
    pub effort: Option<String>,
    /// The rule that decided.
    pub rule: String,
    /// It was decided here.
    pub routed: bool,
    /// Model and effort are the client's own.
    pub untouched: bool,
    /// The baseline's model and effort.
    pub baseline: (String, Option<String>),
    /// The dialect in which it goes out.
    pub told: String,
    /// The channel of the provider on which it goes out; nothing in what older versions kept.
    #[serde(default)]
    pub channel: String,
    /// Where the vendor would be asked it by itself, below its address.
    pub out_path: String,
    /// Its attempt in the books, once that is open.
    pub attempt: String,
    /// The status of its result.
    pub status: u16,
    /// Tokens: input, of these cached, output, of these hidden reasoning.
    pub used: [i64; 4],
    /// Who asked it, where it was no line of a batch that somebody handed in.
    #[serde(default)]
    pub asker: Option<Asker>,
}

impl LineDoc {
    /// An effort by its name.
    #[must_use]
    pub fn effort_of(name: Option<&str>) -> Option<Effort> {
        name.and_then(Effort::parse)
    }
}

/// How far a vendor's batch has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// Nothing of it has gone out.
    #[default]
    Planned,
    /// The call that makes it may have gone out; whether the vendor has heard it is not known.
    Sending,
    /// The vendor has it.
    Sent,
    /// It is over, and every line of it has an end, or waits to be run by itself.
    Ended,
}

/// A vendor's batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartRow {
    /// Which part of its batch, from 0.
    pub n: i64,
    /// How far it has come.
    pub state: PartState,
    /// The provider's name.
    pub provider: String,
    /// The model.
    pub model: String,
    /// The channel of the provider on which it is made, looked at and fetched; nothing in what older versions kept.
    #[serde(default)]
    pub channel: String,
    /// What the vendor calls it.
    pub vendor_id: String,
    /// When the call that makes it was about to go out, seconds since 1970.
    pub intent_at: i64,
    /// How many lines it has.
    pub lines: i64,
    /// The vendor was asked to cancel it.
    pub cancelled: bool,
    /// Its vendor keeps no marks: it was found by its time and size, and may be another's.
    #[serde(default)]
    pub guessed: bool,
    /// A line of it has become confidential since it went out: what its vendor has not done of it is taken back.
    #[serde(default)]
    pub recalled: bool,
}

impl PartRow {
    /// What it is marked with at its vendor.
    #[must_use]
    pub fn tag(&self, batch: &str) -> String {
        format!("{batch}-{}", self.n)
    }

    /// What a line of it is called at its vendor: no more than 64 letters, digits, `-` and `_`, which all of them take.
    #[must_use]
    pub fn line_tag(&self, batch: &str, n: i64) -> String {
        format!("{}-{n}", self.tag(batch))
    }

    /// The line that is called so at its vendor; `None` where that is another batch's.
    #[must_use]
    pub fn line_of(&self, batch: &str, tag: &str) -> Option<i64> {
        let own = tag.strip_prefix(&self.tag(batch))?;
        own.strip_prefix('-')?.parse().ok()
    }
}
