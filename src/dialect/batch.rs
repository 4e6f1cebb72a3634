//! Batches in a dialect's words: as its clients hand them in and read them, and as its vendors take them up. Opens no sockets.
//!
//! A client's batch becomes lines, whatever its dialect; each line is a request like any other. A vendor's batch is made of the lines that
//! one of its models answers.

mod form;
pub mod mistral;
pub mod xai;

pub(super) use form::{file_frame, file_id, file_upload, on_one_line};

use crate::error::Error;
use bytes::Bytes;
use http::Method;
use serde_json::Value;

/// One request of a batch, as a client hands it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedLine {
    /// The client's own name for it.
    pub custom_id: String,
    /// Where it would be asked by itself.
    pub path: String,
    /// What would be asked there.
    pub body: String,
}

/// What is wrong with a line, so that its batch is not taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineDefect {
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// The field at fault.
    pub field: Option<&'static str>,
}

/// A request to keep a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Handed {
    /// The file with its lines, where they are in one.
    pub input_file: Option<String>,
    /// The lines as JSONL, where they came with the request.
    pub lines: Option<Vec<u8>>,
    /// The path that all lines must ask for, where the client names one.
    pub endpoint: Option<String>,
    /// The client's own words about it.
    pub metadata: Option<Value>,
    /// For how many seconds its results are to be kept.
    pub results_for: Option<i64>,
}

/// How a batch stands. The words are those of flyball's own books.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    /// Its lines are being read, and room is looked for.
    #[default]
    Validating,
    /// A line was wrong, so that nothing of it was done.
    Failed,
    /// It is worked on.
    InProgress,
    /// It is to be cancelled; what is under way comes to its end.
    Cancelling,
    /// Every line has an end.
    Completed,
    /// Its time was over before every line had an answer.
    Expired,
    /// It was cancelled.
    Cancelled,
}

impl BatchState {
    /// Every state.
    pub const ALL: [BatchState; 7] = [
        BatchState::Validating,
        BatchState::Failed,
        BatchState::InProgress,
        BatchState::Cancelling,
        BatchState::Completed,
        BatchState::Expired,
        BatchState::Cancelled,
    ];

    /// The name in the books, in metrics and in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            BatchState::Validating => "validating",
            BatchState::Failed => "failed",
            BatchState::InProgress => "in_progress",
            BatchState::Cancelling => "cancelling",
            BatchState::Completed => "completed",
            BatchState::Expired => "expired",
            BatchState::Cancelled => "cancelled",
        }
    }

    /// Nothing changes any more.
    #[must_use]
    pub fn is_over(self) -> bool {
        !matches!(
            self,
            BatchState::Validating | BatchState::InProgress | BatchState::Cancelling
        )
    }
}

/// How many lines of a batch have come how far, and what they have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub total: i64,
    /// Answered.
    pub done: i64,
    /// Refused or failed.
    pub failed: i64,
    /// Not done in time.
    pub expired: i64,
    /// Cancelled before they were done.
    pub cancelled: i64,
    /// Tokens read, cached ones among them.
    pub input: i64,
    /// Of these, tokens that were cached.
    pub cached: i64,
    /// Tokens made, hidden reasoning among them.
    pub output: i64,
    /// Of these, hidden reasoning.
    pub reasoning: i64,
}

impl Counts {
    /// Lines that have no end yet.
    #[must_use]
    pub fn open(&self) -> i64 {
        self.total - self.done - self.failed - self.expired - self.cancelled
    }
}

/// A batch as its client is told of it.
#[derive(Clone, Debug)]
pub struct Shown<'a> {
    /// Its id.
    pub id: &'a str,
    /// How it stands.
    pub state: BatchState,
    /// The path that its lines ask for.
    pub endpoint: &'a str,
    /// The file with its lines.
    pub input_file: &'a str,
    /// The client's own words about it.
    pub metadata: &'a Value,
    /// What was wrong with its lines.
    pub errors: &'a [Value],
    /// Its lines.
    pub counts: Counts,
    /// Seconds since 1970: when it was made.
    pub created: i64,
    /// When work on it began.
    pub began: Option<i64>,
    /// When its time is over.
    pub expires: i64,
    /// When it was asked to be cancelled.
    pub cancelling: Option<i64>,
    /// When it came to its end.
    pub ended: Option<i64>,
}

/// A file as its client is told of it.
#[derive(Clone, Debug)]
pub struct ShownFile<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What it is for.
    pub purpose: &'a str,
    /// Its size in bytes.
    pub bytes: i64,
    /// Seconds since 1970.
    pub created: i64,
    /// When it is deleted by itself.
    pub expires: Option<i64>,
}

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnd {
    /// With an answer.
    Done,
    /// With an error.
    Failed,
    /// Its batch's time was over.
    Expired,
    /// Its batch was cancelled.
    Cancelled,
}

/// A line that has ended, as its client is told of it.
#[derive(Clone, Debug)]
pub struct Ended<'a> {
    /// The request id of the line.
    pub request: &'a str,
    /// The client's own name for it.
    pub custom_id: &'a str,
    /// How it ended.
    pub end: LineEnd,
    /// The status that it would have had by itself.
    pub status: u16,
    /// The answer or the error, in the client's dialect.
    pub body: &'a str,
}

/// Batches as the clients of a dialect know them.
pub trait ClientBatches: Send + Sync {
    /// Ids of the batches that flyball keeps begin so.
    fn id_prefix(&self) -> &'static str;
    /// Reads what is to be kept.
    ///
    /// # Errors
    /// A 400 that names the field.
    fn handed(&self, body: &[u8]) -> Result<Handed, Error>;
    /// Reads one line.
    ///
    /// # Errors
    /// What is wrong with it.
    fn line(&self, line: &[u8]) -> Result<HandedLine, LineDefect>;
    /// A batch that has a wrong line is kept, as failed; otherwise handing it in is refused.
    fn keeps_failed(&self) -> bool;
    /// A batch in its words.
    fn batch(&self, shown: &Shown<'_>) -> Value;
    /// Some batches; `more`: there are others after them.
    fn list(&self, all: Vec<Value>, more: bool) -> Value;
    /// A file in its words.
    fn file(&self, shown: &ShownFile<'_>) -> Value;
    /// A batch was deleted.
    fn deleted(&self, id: &str) -> Value;
    /// A line of its results, without the end of the line.
    fn result(&self, ended: &Ended<'_>) -> String;
    /// Lines with an error are in a file of their own.
    fn splits_errors(&self) -> bool;
    /// The call that deletes what a key keeps for its batches.
    fn deletes(&self) -> &'static str;
    /// Nobody knows a batch of this id.
    fn unknown(&self, id: &str) -> String;
}

/// How much one batch of a vendor takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartLimits {
    /// Lines.
    pub lines: usize,
    /// Bytes.
    pub bytes: usize,
    /// Bytes of its results, where they come as a whole.
    pub results: usize,
}

/// A line on its way to a vendor.
#[derive(Clone, Copy, Debug)]
pub struct OutLine<'a> {
    /// Our name for it: the mark of its batch and its number there, in the letters that every vendor takes.
    pub id: &'a str,
    /// Where it would be asked by itself, below the vendor's address.
    pub path: &'a str,
    /// What would be asked there.
    pub body: &'a str,
}

/// What stands around the lines of a batch, where they go out together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Before the first.
    pub before: String,
    /// Between two.
    pub between: &'static str,
    /// After the last.
    pub after: String,
}

/// A batch that is about to be made at its vendor.
#[derive(Clone, Copy, Debug)]
pub struct Making<'a> {
    /// What it is marked with.
    pub tag: &'a str,
    /// The model that answers all of its lines.
    pub model: &'a str,
    /// Where each of its lines would be asked by itself, below the vendor's address.
    pub path: &'a str,
    /// What was handed in before, where anything was.
    pub uploaded: Option<&'a str>,
}

/// A page of results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultsPage {
    /// The results.
    pub results: Vec<VendorResult>,
    /// Where the next page is, below the vendor's address.
    pub next: Option<String>,
}

/// A call of a vendor's batch API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendorCall {
    /// The method.
    pub method: Method,
    /// The path below the vendor's address.
    pub path: String,
    /// The type of the body; nothing where there is none.
    pub kind: Option<String>,
    /// The body.
    pub body: Bytes,
}

impl VendorCall {
    /// Something is looked at.
    #[must_use]
    pub fn get(path: String) -> VendorCall {
        VendorCall {
            method: Method::GET,
            path,
            kind: None,
            body: Bytes::new(),
        }
    }

    /// Something is asked for in JSON.
    #[must_use]
    pub fn post(path: String, body: &Value) -> VendorCall {
        VendorCall {
            method: Method::POST,
            path,
            kind: Some("application/json".into()),
            body: body.to_string().into(),
        }
    }
}

/// How a vendor's batch came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VendorEnd {
    /// Every line has a result.
    Completed,
    /// Its time was over: lines without a result were not done.
    Expired,
    /// It was cancelled: lines without a result were not done.
    Cancelled,
    /// It was not taken up, and the vendor says why: nothing was done.
    Refused(String),
}

/// What a vendor says of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendorTold {
    /// The vendor's id.
    pub id: String,
    /// How it ended, if it has.
    pub end: Option<VendorEnd>,
    /// Where its results are, below the vendor's address.
    pub results: Vec<String>,
    /// Its results, where they stand in the same answer.
    pub inline: Vec<VendorResult>,
    /// How many lines it has by now, where its vendor takes them one after the other.
    pub lines: Option<u64>,
}

/// What came of a search for a batch whose making nobody has heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// This one.
    Yes(String),
    /// It is not among all there are.
    No,
    /// It is not among these; there are others, after this mark.
    Further(String),
    /// It may be among them, or not.
    Unclear,
}

/// What a vendor says of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendorResult {
    /// Our name for it.
    pub id: String,
    /// How it ended.
    pub end: LineEnd,
    /// The status that it would have had by itself.
    pub status: u16,
    /// The answer or the error, in the dialect in which it was asked.
    pub body: String,
}

/// What a batch that is looked for is known by.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'a> {
    /// What it was marked with, where its vendor keeps marks.
    pub tag: &'a str,
    /// How many lines it has.
    pub lines: usize,
    /// It was made no earlier than this, seconds since 1970.
    pub since: i64,
    /// Others, which it is not.
    pub known: &'a [String],
    /// Another one with as many lines is looked for, too.
    pub rival: bool,
    /// Which page of the list this is, from 0.
    pub page: usize,
}

/// Batches as a vendor takes them up.
pub trait VendorBatches: Send + Sync {
    /// The name, where it is a vendor's own API that no dialect's clients speak.
    fn name(&self) -> &'static str {
        ""
    }
    /// The dialect that its lines are best told in.
    fn dialect(&self) -> &'static str;
    /// Where its batches are, below its address.
    fn path(&self) -> &'static str;
    /// Its lines may be completions in this dialect.
    fn carries(&self, dialect: &str) -> bool;
    /// Its lines may ask for embeddings in OpenAI's shape.
    fn embeds(&self) -> bool {
        false
    }
    /// A call at this path makes a batch.
    fn makes(&self, path: &str) -> bool {
        path == self.path()
    }
    /// The vendor's id of the batch that a path below its address is about.
    fn id_in(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(self.path())?.strip_prefix('/')?;
        let id = rest.split(['/', ':', '?']).next().unwrap_or_default();
        (!id.is_empty()).then(|| id.to_owned())
    }
    /// The batch that was made before, and to which a call at this path adds requests.
    fn adds_to(&self, _path: &str) -> Option<String> {
        None
    }
    /// Requests can be added to a batch all of whose requests are done.
    fn grows(&self) -> bool {
        false
    }
    /// How much one batch takes.
    fn limits(&self) -> PartLimits;
    /// What stands around the lines of a batch that is marked so.
    fn frame(&self, tag: &str) -> Frame;
    /// Writes one line down, as it stands in that frame.
    fn write(&self, line: &OutLine<'_>, into: &mut Vec<u8>);
    /// The call before the batch is made, where there is one: it hands the lines in their frame in, or makes a batch without lines. It costs
    /// nothing and may be made again.
    fn upload(&self, _tag: &str, _lines: &Bytes) -> Option<VendorCall> {
        None
    }
    /// The id of what was handed in.
    fn uploaded(&self, _answer: &[u8]) -> Option<String> {
        None
    }
    /// The call that makes the batch of these lines in their frame.
    fn create(&self, making: &Making<'_>, lines: Bytes) -> VendorCall;
    /// What the vendor says when it is made.
    fn created(&self, _uploaded: Option<&str>, answer: &[u8]) -> Option<VendorTold> {
        self.told(answer)
    }
    /// What the vendor says of a batch when it is made, looked at or cancelled.
    fn told(&self, answer: &[u8]) -> Option<VendorTold>;
    /// The call that looks at a batch.
    fn look(&self, id: &str) -> VendorCall;
    /// The call that cancels one.
    fn cancel(&self, id: &str) -> VendorCall;
    /// The call that lists batches, the latest first, after this mark.
    fn find(&self, after: Option<&str>) -> VendorCall;
    /// Its list tells the mark with which a batch was made. Otherwise one that was found may be another's.
    fn keeps_marks(&self) -> bool {
        true
    }
    /// Whether the one that is looked for is among these.
    fn found(&self, answer: &[u8], sought: &Sought<'_>) -> Found;
    /// Its results come in pages of JSON, and not as lines.
    fn in_pages(&self) -> bool {
        false
    }
    /// Reads a page of results that was found there.
    fn page(&self, _path: &str, _answer: &[u8]) -> Option<ResultsPage> {
        None
    }
    /// Reads one line of results.
    fn result(&self, line: &[u8]) -> Option<VendorResult>;
}

/// The batch APIs that vendors have of their own, beside those of the dialects.
pub static OWN: &[&dyn VendorBatches] = &[&mistral::Jobs, &xai::Containers];

/// The vendor's own batch API of this name.
#[must_use]
pub fn own(name: &str) -> Option<&'static dyn VendorBatches> {
    OWN.iter().copied().find(|own| own.name() == name)
}

/// A value of an answer as the text that stands there.
pub(super) fn raw(value: Option<&Value>) -> String {
    value.map_or_else(|| "null".to_owned(), Value::to_string)
}
