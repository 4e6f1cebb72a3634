//! Batches that flyball keeps itself, and their files, as clients ask for them. What becomes of a batch is in [`work`]; here it is handed
//! in, looked at, cancelled and fetched.

mod admit;
mod asked;
mod desk;
mod direct;
mod later;
mod metered;
mod pages;
pub(super) mod passed;
pub(super) mod passed_capped;
mod pool;
mod seat;
mod settled;
mod vendor;
mod wire;
pub mod work;

pub use desk::Batches;
pub(super) use later::later;
pub(super) use pool::join;
pub(super) use seat::Seat;

use super::admission::Inbound;
use super::files_batches::HandedIn;
use super::router::{Collection, asked};
use super::{State, body, reply, wishes};
use crate::batch::multipart::{Form, Piece};
use crate::batch::{BatchDoc, BatchRow, FileRow};
use crate::dialect::batch::{BatchState, ClientBatches, Handed, Shown, ShownFile};
use crate::dialect::{self, Dialect};
use crate::error::{Error, Kind};
use crate::ledger::now;
use crate::ledger::store::batches::lines_file;
use crate::provider::Side;
use crate::relay::AnswerBody;
use crate::route::Policy;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use pages::{CHUNK, LinesTold, Results};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// For so long a client that hands a batch in is kept waiting for whether it is taken up; then it hears that its lines are being read.
const ADMITTED_WITHIN: Duration = Duration::from_secs(15);
/// A client's piece of a file comes within this time.
const PIECE: Duration = Duration::from_secs(30);
/// Ids of files begin so.
const FILE_PREFIX: &str = "file-fb";
/// Batches, or files, that are told at once.
const LIST_MAX: i64 = 100;

/// What came of a call about batches or files.
pub(super) enum Kept {
    /// It is answered here.
    Here(Box<Response<AnswerBody>>),
    /// It is for the provider that keeps such things.
    Elsewhere(HandedIn),
}

fn here(answer: Response<AnswerBody>) -> Kept {
    Kept::Here(Box::new(answer))
}

fn told(value: &Value) -> Kept {
    here(reply::json(StatusCode::OK, value.to_string()))
}

/// One call.
struct Call<'a> {
    state: &'a Arc<State>,
    inbound: &'a Inbound<'a>,
    dialect: &'static dyn Dialect,
    words: &'static dyn ClientBatches,
    key: i64,
    rest: &'a str,
}

/// Answers a call about batches or files, where they are kept here.
///
/// # Errors
/// As its vendor would say it.
pub(super) async fn serve(
    state: &Arc<State>,
    inbound: &Inbound<'_>,
    place: Collection<'_>,
    body: Incoming,
) -> Result<Kept, Error> {
    let (files, name) = match place.side {
        Side::Files(name) => (true, name),
        Side::Batches(name) => (false, name),
        _ => return Ok(Kept::Elsewhere(HandedIn::Coming(body))),
    };
    let dialect = dialect::named(name);
    let words = dialect.and_then(|dialect| Some((dialect, dialect.client_batches()?)));
    let chosen = inbound.head.headers.contains_key("x-flyball-provider");
    let keeps = state.batches.settings.load().keep && !chosen;
    let (Some((dialect, words)), true) = (words, keeps) else {
        return Ok(Kept::Elsewhere(HandedIn::Coming(body)));
    };
    let call = Call {
        state,
        inbound,
        dialect,
        words,
        key: inbound.caller.key.as_ref().map_or(0, |key| key.id),
        rest: place.rest.trim_matches('/'),
    };
    match (files, words.splits_errors()) {
        (true, true) => call.files(body).await,
        (true, false) => Ok(Kept::Elsewhere(HandedIn::Coming(body))),
        (false, _) => call.batches(body, place.name).await,
    }
}

/// The results of one batch, in the id of a file.
fn of_results(id: &str) -> Option<(LinesTold, &str)> {
    let rest = id.strip_prefix(FILE_PREFIX)?;
    let kinds = [(LinesTold::Answers, "out"), (LinesTold::Errors, "err")];
    kinds.into_iter().find_map(|(told, kind)| {
        let batch = rest.strip_prefix(kind)?;
        Some((told, batch))
    })
}

fn no_file(id: &str) -> Error {
    Error {
        field: Some("id".into()),
        ..Error::new(Kind::NotFound, format!("No such File object: {id}"))
    }
}

impl Call<'_> {
    fn method(&self) -> &Method {
        &self.inbound.head.method
    }

    /// The values of the query by this name.
    fn query(&self, name: &str) -> Option<String> {
        let query = self.inbound.head.uri.query().unwrap_or_default();
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key == name).then(|| dialect::unescaped(value).into_owned())
        })
    }

    fn limit(&self) -> Result<i64, Error> {
        let Some(text) = self.query("limit") else {
            return Ok(20);
        };
        let limit = text
            .parse::<i64>()
            .ok()
            .filter(|n| (1..=10_000).contains(n));
        let limit = limit
            .ok_or_else(|| Error::bad_field("limit", "\"limit\" takes a number from 1 on."))?;
        Ok(limit.min(LIST_MAX))
    }

    fn no_batch(&self, id: &str) -> Error {
        Error::new(Kind::NotFound, self.words.unknown(id))
    }

    fn no_method(&self) -> Error {
        Error::new(
            Kind::MethodNotAllowed,
            format!(
                "{} {} is not there.",
                self.method(),
                self.inbound.head.uri.path()
            ),
        )
    }

    // Files.

    fn file_shown(&self, file: &FileRow) -> Value {
        self.words.file(&ShownFile {
            id: &file.id,
            name: &file.name,
            purpose: &file.purpose,
            bytes: file.bytes,
            created: file.created,
            expires: Some(file.expires),
        })
    }

    async fn files(&self, body: Incoming) -> Result<Kept, Error> {
        let (id, tail) = self.rest.split_once('/').unwrap_or((self.rest, ""));
        match (self.method(), id, tail) {
            (&Method::POST, "", _) => self.upload(body).await,
            (&Method::GET, "", _) => self.list_files().await,
            _ if !id.starts_with(FILE_PREFIX) => Ok(Kept::Elsewhere(HandedIn::Coming(body))),
            (&Method::GET, id, "") => Ok(told(&self.shown_file(id).await?)),
            (&Method::GET, id, "content") => self.content(id).await,
            (&Method::DELETE, id, "") => {
                if of_results(id).is_none() {
                    self.file(id).await?;
                    let gone = id.to_owned();
                    let desk = &self.state.batches;
                    desk.with(move |store| store.delete_file(&gone)).await?;
                } else {
                    self.results(id).await?;
                    let why = "The results of a batch are kept with it, for [batch] keep_for, and cannot be deleted by themselves.";
                    return Err(Error::bad_field("id", why));
                }
                Ok(told(&json!({"id": id, "object": "file", "deleted": true})))
            }
            _ => Err(self.no_method()),
        }
    }

    async fn file(&self, id: &str) -> Result<FileRow, Error> {
        let found = self.state.batches.own_file(self.key, id).await?;
        found.ok_or_else(|| no_file(id))
    }

    /// The batch whose results are in a file of this id.
    async fn results(&self, id: &str) -> Result<(LinesTold, BatchRow), Error> {
        let (told, rest) = of_results(id).ok_or_else(|| no_file(id))?;
        let batch = format!("{}{rest}", self.words.id_prefix());
        let found = self.state.batches.own(self.key, &batch).await?;
        let found = found.filter(|batch| batch.state.is_over());
        found.map(|batch| (told, batch)).ok_or_else(|| no_file(id))
    }

    async fn shown_file(&self, id: &str) -> Result<Value, Error> {
        if of_results(id).is_none() {
            return Ok(self.file_shown(&self.file(id).await?));
        }
        let (told, batch) = self.results(id).await?;
        let mut results = self.all_of(&batch, told);
        let mut bytes = 0_i64;
        while let Some(page) = results.next().await? {
            bytes += i64::try_from(page.len()).unwrap_or(0);
        }
        let kind = if told == LinesTold::Answers {
            "output"
        } else {
            "error"
        };
        Ok(self.file_shown(&FileRow {
            id: id.to_owned(),
            key: self.key,
            name: format!("{}_{kind}.jsonl", batch.id),
            purpose: "batch_output".into(),
            bytes,
            created: batch.doc.ended.unwrap_or(batch.created),
            expires: batch.created + batch.doc.results_for,
        }))
    }

    async fn list_files(&self) -> Result<Kept, Error> {
        let (limit, after) = (self.limit()?, self.query("after").unwrap_or_default());
        let key = self.key;
        let found = self
            .state
            .batches
            .with(move |store| store.files(key, &after, limit + 1));
        let found = found.await?;
        let purpose = self.query("purpose");
        let more = i64::try_from(found.len()).unwrap_or(0) > limit;
        let wanted = |file: &&FileRow| purpose.as_ref().is_none_or(|p| *p == file.purpose);
        let shown = found.iter().take(usize::try_from(limit).unwrap_or(0));
        let shown = shown
            .filter(wanted)
            .map(|file| self.file_shown(file))
            .collect();
        Ok(told(&self.words.list(shown, more)))
    }

    async fn content(&self, id: &str) -> Result<Kept, Error> {
        let (name, body) = if of_results(id).is_some() {
            let (told, batch) = self.results(id).await?;
            let name = batch.id.clone();
            (name, paged(self.all_of(&batch, told)))
        } else {
            let file = self.file(id).await?;
            let name = file.name.clone();
            (name, self.pieces(file))
        };
        let mut answer = Response::new(body);
        let headers = answer.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        let name: String = name
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c))
            .collect();
        if let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
            headers.insert(CONTENT_DISPOSITION, value);
        }
        Ok(here(answer))
    }

    fn all_of(&self, batch: &BatchRow, told: LinesTold) -> Results {
        Results {
            desk: Arc::clone(&self.state.batches),
            words: self.words,
            batch: batch.clone(),
            told,
            after: -1,
        }
    }

    fn pieces(&self, file: FileRow) -> AnswerBody {
        let desk = Arc::clone(&self.state.batches);
        let pieces = futures_util::stream::try_unfold(0_i64, move |n| {
            let (desk, id) = (Arc::clone(&desk), file.id.clone());
            async move {
                let piece = desk.with(move |store| store.chunk(&id, n)).await;
                let piece = piece.map_err(std::io::Error::other)?;
                Ok(piece.map(|bytes| (Bytes::from(bytes), n + 1)))
            }
        });
        AnswerBody::Pieces(Box::pin(pieces))
    }

    /// Takes a form with a file in it. What is for a batch is kept here; all else goes on as it came.
    async fn upload(&self, mut body: Incoming) -> Result<Kept, Error> {
        let most = self.state.batches.settings.load().file_bytes_max;
        body::check_body(
            self.inbound.head,
            usize::try_from(most).unwrap_or(usize::MAX),
        )?;
        let kind = self.inbound.head.headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let Some(form) = Form::of(kind) else {
            return Ok(Kept::Elsewhere(HandedIn::Coming(body)));
        };
        let id = format!("{FILE_PREFIX}{}", uuid::Uuid::now_v7().simple());
        let key = self.key;
        let kept = self
            .state
            .batches
            .with(move |store| store.kept_bytes(key))
            .await?;
        let mut upload = Upload {
            call: self,
            taking: Taking {
                desk: Arc::clone(&self.state.batches),
                key,
                bytes: 0,
                id: Some(id.clone()),
            },
            kept,
            id,
            form,
            name: None,
            purpose: None,
            expires_after: None,
            held: Vec::new(),
            chunks: 0,
            bytes: 0,
            raw: Some(BytesMut::new()),
        };
        let outcome = upload.read(&mut body, most).await;
        let kept = match outcome {
            Ok(()) => upload.end().await,
            Err(error) => Err(error),
        };
        if matches!(kept, Ok(Kept::Here(_))) {
            upload.taking.id = None;
        }
        kept
    }

    // Batches.

    async fn batches(&self, body: Incoming, name: &str) -> Result<Kept, Error> {
        let (id, tail) = self.rest.split_once('/').unwrap_or((self.rest, ""));
        match (self.method(), id, tail) {
            (&Method::POST, "", _) => {
                let bytes = body::read_body(self.inbound.head, body, self.inbound.limits).await?;
                self.create(bytes, name).await
            }
            (&Method::GET, "", _) => self.list().await,
            _ if !id.starts_with(self.words.id_prefix()) => {
                Ok(Kept::Elsewhere(HandedIn::Coming(body)))
            }
            (&Method::GET, id, "") => Ok(told(&self.shown(&self.batch(id).await?).await?)),
            (&Method::POST, id, "cancel") => self.cancel(id).await,
            (&Method::GET, id, "results") if !self.words.splits_errors() => {
                let batch = self.batch(id).await?;
                if !batch.state.is_over() {
                    return Err(Error::new(
                        Kind::NotFound,
                        format!("Batch {id} has no available results."),
                    ));
                }
                let mut answer = Response::new(paged(self.all_of(&batch, LinesTold::All)));
                let kind = HeaderValue::from_static("application/x-jsonl");
                answer.headers_mut().insert(CONTENT_TYPE, kind);
                Ok(here(answer))
            }
            (&Method::DELETE, id, "") if !self.words.splits_errors() => {
                let batch = self.batch(id).await?;
                if !batch.state.is_over() {
                    return Err(Error::new(
                        Kind::BadRequest,
                        "A batch that is under way cannot be deleted; cancel it first.",
                    ));
                }
                let gone = batch.id.clone();
                self.state
                    .batches
                    .with(move |store| store.delete(&gone))
                    .await?;
                Ok(told(&self.words.deleted(id)))
            }
            _ => Err(self.no_method()),
        }
    }

    async fn batch(&self, id: &str) -> Result<BatchRow, Error> {
        let found = self.state.batches.own(self.key, id).await?;
        found.ok_or_else(|| self.no_batch(id))
    }

    async fn shown(&self, batch: &BatchRow) -> Result<Value, Error> {
        let id = batch.id.clone();
        let counts = self
            .state
            .batches
            .with(move |store| store.counts(&id))
            .await?;
        let doc = &batch.doc;
        Ok(self.words.batch(&Shown {
            id: &batch.id,
            state: batch.state,
            endpoint: &doc.endpoint,
            input_file: &doc.input_file,
            metadata: &doc.metadata,
            errors: &doc.errors,
            counts,
            created: batch.created,
            began: doc.began,
            expires: doc.expires,
            cancelling: doc.cancelling,
            ended: doc.ended,
        }))
    }

    async fn list(&self) -> Result<Kept, Error> {
        let limit = self.limit()?;
        let after = self.query("after").or_else(|| self.query("after_id"));
        let after = after.unwrap_or_default();
        let (key, name) = (self.key, self.dialect.name());
        let found = self
            .state
            .batches
            .with(move |store| store.batches(Some(key), &after, limit + 1))
            .await?;
        let more = i64::try_from(found.len()).unwrap_or(0) > limit;
        let mut shown = Vec::new();
        let page = found.iter().take(usize::try_from(limit).unwrap_or(0));
        for batch in page.filter(|batch| batch.doc.dialect == name) {
            shown.push(self.shown(batch).await?);
        }
        Ok(told(&self.words.list(shown, more)))
    }

    async fn cancel(&self, id: &str) -> Result<Kept, Error> {
        // What works on it may change it meanwhile.
        for _ in 0..20 {
            let mut batch = self.batch(id).await?;
            let was = batch.state;
            if was.is_over() && self.words.splits_errors() {
                let why = format!("Cannot cancel a batch with status '{}'.", was.name());
                return Err(Error::new(Kind::BadRequest, why));
            }
            if was.is_over() || was == BatchState::Cancelling {
                return Ok(told(&self.shown(&batch).await?));
            }
            batch.state = BatchState::Cancelling;
            batch.doc.cancelling = Some(now());
            if self.state.batches.change(None, &batch, was).await? {
                self.state.batches.wake(id);
                return Ok(told(&self.shown(&batch).await?));
            }
        }
        Err(Error::new(
            Kind::Overloaded,
            "The batch is changing; try again.",
        ))
    }

    /// Keeps a batch, and begins to work on it.
    async fn create(&self, body: Bytes, name: &str) -> Result<Kept, Error> {
        let handed = self.words.handed(&body)?;
        if let Some(file) = &handed.input_file
            && !file.starts_with(FILE_PREFIX)
        {
            return Ok(Kept::Elsewhere(HandedIn::Whole(body)));
        }
        let wishes = wishes::read(self.inbound.head, &self.inbound.caller)?;
        self.inbound.caller.counted_tags(&wishes.tags)?;
        let batch = self.row(handed, name).await?;
        let row = batch.clone();
        self.state
            .batches
            .with(move |store| store.put(&row))
            .await?;
        tracing::info!(
            batch = batch.id,
            key = self.inbound.caller.name(),
            "a batch was handed in"
        );
        let (admitted, heard) = oneshot::channel();
        let working = work::drive(Arc::clone(self.state), batch.id.clone(), Some(admitted));
        tokio::spawn(working);
        let heard = tokio::time::timeout(ADMITTED_WITHIN, heard).await;
        if let Ok(Ok(Err(error))) = heard {
            // There is no room for all of it: nothing of it stays.
            let id = batch.id.clone();
            self.state
                .batches
                .with(move |store| store.delete(&id))
                .await?;
            return Err(error);
        }
        let batch = self.batch(&batch.id).await?;
        if let (BatchState::Failed, false) = (batch.state, self.words.keeps_failed()) {
            let first = batch.doc.errors.first();
            let said = first.and_then(|first| first["message"].as_str());
            let line = first.and_then(|first| first["line"].as_i64()).unwrap_or(1) - 1;
            let why = format!("requests.{line}: {}", said.unwrap_or_default());
            let id = batch.id.clone();
            self.state
                .batches
                .with(move |store| store.delete(&id))
                .await?;
            return Err(Error::bad_field("requests", why));
        }
        Ok(told(&self.shown(&batch).await?))
    }

    async fn row(&self, handed: Handed, name: &str) -> Result<BatchRow, Error> {
        let settings = self.state.batches.settings.load();
        let id = format!(
            "{}{}",
            self.words.id_prefix(),
            uuid::Uuid::now_v7().simple()
        );
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX / 4);
        let keep = seconds(settings.keep_for);
        let endpoint = handed
            .endpoint
            .unwrap_or_else(|| name.trim_end_matches("/batches").to_owned());
        self.check_endpoint(&endpoint)?;
        let input_file = match (handed.input_file, handed.lines) {
            (Some(file), _) => self.file(&file).await?.id,
            (None, lines) => {
                self.keep_lines(&id, lines.unwrap_or_default(), keep)
                    .await?
            }
        };
        Ok(BatchRow {
            id,
            key: self.key,
            state: BatchState::Validating,
            created: now(),
            doc: BatchDoc {
                dialect: self.dialect.name().to_owned(),
                endpoint,
                input_file,
                metadata: handed.metadata.unwrap_or_default(),
                headers: headers_that_hold(self.inbound.head, self.dialect, &self.inbound.policy),
                expires: now().saturating_add(seconds(settings.window)),
                results_for: handed.results_for.unwrap_or(keep),
                ..BatchDoc::default()
            },
        })
    }

    /// Lines that came with the request are kept as a file that nobody else sees.
    async fn keep_lines(&self, batch: &str, lines: Vec<u8>, keep: i64) -> Result<String, Error> {
        let file = FileRow {
            id: lines_file(batch),
            key: -1,
            name: String::new(),
            purpose: "batch".into(),
            bytes: i64::try_from(lines.len()).unwrap_or(i64::MAX),
            created: now(),
            expires: now().saturating_add(keep),
        };
        let id = file.id.clone();
        let (key, most) = (self.key, self.key_bytes_max());
        let kept = self.state.batches.with(move |store| {
            // Its row comes first: pieces of which nobody knows would never be forgotten.
            if !store.put_file(&file, key, most)? {
                return Ok(false);
            }
            for (n, piece) in (0..).zip(lines.chunks(CHUNK)) {
                store.put_chunk(&file.id, n, piece.to_vec())?;
            }
            Ok(true)
        });
        match kept.await? {
            true => Ok(id),
            false => Err(self.too_much()),
        }
    }

    /// So many bytes of files this key may keep.
    fn key_bytes_max(&self) -> i64 {
        let most = self.state.batches.settings.load().key_bytes_max;
        i64::try_from(most).unwrap_or(i64::MAX)
    }

    /// What is told where a key would keep more than it may.
    fn too_much(&self) -> Error {
        let settings = self.state.batches.settings.load();
        let most = settings.key_bytes_max;
        let days = settings.keep_for.as_secs() / 86_400;
        let delete = self.words.deletes();
        Error::new(
            Kind::TooLarge,
            format!(
                "With this, the key would keep more than {most} bytes of batches' files (batch.key_bytes_max). Delete what is not needed any more ({delete}), or wait: what is kept expires after {days} days (batch.keep_for)."
            ),
        )
        .code("flyball_batch_storage")
    }

    /// # Errors
    /// A batch cannot ask for it.
    fn check_endpoint(&self, endpoint: &str) -> Result<(), Error> {
        let request = http::Request::builder()
            .method(Method::POST)
            .uri(endpoint)
            .body(());
        let head = request.map(|request| request.into_parts().0);
        let takes = |head: &Parts| {
            use super::router::CallKind::{Complete, Embed};
            // What asks for embeddings, asks for them in the words of its batch.
            match asked(head) {
                (_, Ok(Complete(_))) => true,
                (dialect, Ok(Embed(_))) => dialect.name() == self.dialect.name(),
                _ => false,
            }
        };
        match head.is_ok_and(|head: Parts| takes(&head)) {
            true => Ok(()),
            false => Err(Error::bad_field(
                "endpoint",
                format!(
                    "Invalid value for 'endpoint': '{endpoint}'. A batch may ask for completions, such as /v1/chat/completions and /v1/responses, or for /v1/embeddings."
                ),
            )),
        }
    }
}

/// The headers of a call that hold for what is read again later: flyball's own, and those that say in which words it is asked.
fn headers_that_hold(
    head: &Parts,
    dialect: &'static dyn Dialect,
    policy: &Policy,
) -> Vec<(String, String)> {
    let envelope = dialect.envelope();
    let version = envelope.version.map(|(name, _)| name);
    let user = policy.end_users.header.as_ref();
    let own = |name: &HeaderName| {
        // Who keeps a batch is no wish of its lines.
        (name.as_str().starts_with("x-flyball-") && name != "x-flyball-provider")
            || envelope.features.contains(&name.as_str())
            || version == Some(name.as_str())
            || user == Some(name)
    };
    let headers = head.headers.iter().filter(|(name, _)| own(name));
    headers
        .filter_map(|(name, value)| {
            // A user's name may have letters that are not ASCII.
            let text = std::str::from_utf8(value.as_bytes()).ok()?;
            Some((name.as_str().to_owned(), text.to_owned()))
        })
        .collect()
}

fn paged(results: Results) -> AnswerBody {
    let pages = futures_util::stream::try_unfold(results, |mut results| async move {
        let page = results.next().await.map_err(std::io::Error::other)?;
        Ok(page.map(|page| (page, results)))
    });
    AnswerBody::Pieces(Box::pin(pages))
}

/// Bytes of a file that is being taken: others of the same key's that are on their way count with them.
struct Taking {
    desk: Arc<Batches>,
    key: i64,
    bytes: i64,
    /// Its pieces are kept under this id, and forgotten unless it becomes whole.
    id: Option<String>,
}

impl Taking {
    /// So many bytes more. Gives how many of this key's are on their way now.
    fn more(&mut self, bytes: usize) -> i64 {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
        self.desk.takes(self.key, bytes)
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.desk.takes(self.key, self.bytes.saturating_neg());
        let Some(id) = self.id.take() else { return };
        let desk = Arc::clone(&self.desk);
        tokio::spawn(async move {
            if let Err(error) = desk.with(move |store| store.delete_file(&id)).await {
                tracing::warn!(%error, "the pieces of a file that broke off cannot be forgotten now");
            }
        });
    }
}

/// A form that is being taken.
struct Upload<'a> {
    call: &'a Call<'a>,
    taking: Taking,
    /// What the key kept when it began.
    kept: i64,
    id: String,
    form: Form,
    name: Option<String>,
    purpose: Option<String>,
    expires_after: Option<i64>,
    held: Vec<u8>,
    chunks: i64,
    bytes: u64,
    /// All of it as it came, as long as it may have to go on so.
    raw: Option<BytesMut>,
}

impl Upload<'_> {
    async fn read(&mut self, body: &mut Incoming, most: u64) -> Result<(), Error> {
        let slow = || {
            Error::new(
                Kind::ClientTimeout,
                "The request's body did not arrive in time.",
            )
        };
        let raw_max = self.call.inbound.limits.body_bytes_max;
        let mut total = 0_u64;
        loop {
            let frame = tokio::time::timeout(PIECE, body.frame()).await;
            let frame = match frame.map_err(|_| slow())? {
                None => return Ok(()),
                Some(Err(error)) => {
                    let broken = Error::new(Kind::BadRequest, "The request's body broke off.");
                    return Err(broken.detail(error.to_string()));
                }
                Some(Ok(frame)) => frame,
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            total += u64::try_from(data.len()).unwrap_or(u64::MAX);
            if total > most {
                return Err(Error::new(
                    Kind::TooLarge,
                    format!("The file is longer than {most} bytes (batch.file_bytes_max)."),
                ));
            }
            let is_batch = self.is_batch();
            if let Some(raw) = &mut self.raw {
                match raw.len() + data.len() <= raw_max && !is_batch {
                    true => raw.extend_from_slice(&data),
                    false => self.raw = None,
                }
            }
            self.take(&data).await?;
        }
    }

    fn is_batch(&self) -> bool {
        self.purpose.as_deref() == Some("batch")
    }

    async fn take(&mut self, data: &[u8]) -> Result<(), Error> {
        let mut pieces = Vec::new();
        let read = self.form.feed(data, &mut |piece| pieces.push(piece));
        read.map_err(|_| Error::new(Kind::BadRequest, "The body is no form with a file in it."))?;
        for piece in pieces {
            match piece {
                Piece::Field(name, text) if name == "purpose" => self.purpose = Some(text),
                Piece::Field(name, text) if name == "expires_after[seconds]" => {
                    self.expires_after = text.trim().parse().ok();
                }
                Piece::Field(..) => {}
                Piece::File(name) => self.name = Some(name),
                Piece::Bytes(bytes) => {
                    self.bytes += u64::try_from(bytes.len()).unwrap_or(0);
                    self.held.extend(bytes);
                }
            }
        }
        while self.held.len() >= CHUNK {
            let rest = self.held.split_off(CHUNK);
            let chunk = std::mem::replace(&mut self.held, rest);
            self.put(chunk).await?;
        }
        Ok(())
    }

    async fn put(&mut self, chunk: Vec<u8>) -> Result<(), Error> {
        let coming = self.taking.more(chunk.len());
        if self.kept.saturating_add(coming) > self.call.key_bytes_max() {
            return Err(self.call.too_much());
        }
        let (id, n) = (self.id.clone(), self.chunks);
        self.chunks += 1;
        let desk = &self.call.state.batches;
        desk.with(move |store| store.put_chunk(&id, n, chunk)).await
    }

    /// All of it is here.
    async fn end(&mut self) -> Result<Kept, Error> {
        if !self.is_batch() {
            let Some(raw) = self.raw.take() else {
                let most = self.call.inbound.limits.body_bytes_max;
                return Err(Error::new(
                    Kind::TooLarge,
                    format!(
                        "The request's body is longer than {most} bytes (limits.body_bytes_max)."
                    ),
                ));
            };
            return Ok(Kept::Elsewhere(HandedIn::Whole(raw.freeze())));
        }
        if !self.form.is_whole() {
            return Err(Error::new(
                Kind::BadRequest,
                "The form with the file broke off.",
            ));
        }
        let Some(name) = self.name.take() else {
            return Err(Error::bad_field("file", "'file' is a required property"));
        };
        // No database of ours keeps that in a text.
        if name.contains('\0') {
            let why = "The name of the file must not hold the character U+0000.";
            return Err(Error::bad_field("file", why));
        }
        let rest = std::mem::take(&mut self.held);
        if !rest.is_empty() {
            self.put(rest).await?;
        }
        let keep = self.call.state.batches.settings.load().keep_for.as_secs();
        let keep = i64::try_from(keep).unwrap_or(i64::MAX / 4);
        let file = FileRow {
            id: self.id.clone(),
            key: self.call.key,
            name: name.chars().take(512).collect(),
            purpose: "batch".into(),
            bytes: i64::try_from(self.bytes).unwrap_or(i64::MAX),
            created: now(),
            expires: now().saturating_add(self.expires_after.unwrap_or(keep).min(keep)),
        };
        let row = file.clone();
        let desk = &self.call.state.batches;
        let (key, most) = (self.call.key, self.call.key_bytes_max());
        match desk
            .with(move |store| store.put_file(&row, key, most))
            .await?
        {
            true => Ok(told(&self.call.file_shown(&file))),
            false => Err(self.call.too_much()),
        }
    }
}
