//! A change of effort that is said within the conversation. Effort is part of the key of a vendor's prompt cache, so a request that says
//! another one than the request before it pays for the whole conversation anew. Some vendors take the change as an entry of the
//! conversation instead: the request as a whole goes on saying the effort that the conversation began with, and what stood before the
//! change stays as it was sent.
//!
//! The client does not know of these entries and does not send them back, so they are put in again at the same places in every later
//! request. Where a place is lost, more than the cache is: newer Claude models bind their thinking to all that stood before it and may
//! answer 400 (platform.claude.com/docs/en/build-with-claude/preserved-thinking), and OpenAI drops the reasoning after such a place
//! (developers.openai.com/api/docs/guides/preserved-reasoning).
//!
//! How a dialect says it stands beside the dialect ([`Band`]); which models take it is data ([`Takes::effort_in_band`]). OpenAI's own
//! Chat Completions has no way to say it (openrouter.ai/docs/guides/best-practices/reasoning-tokens, Changing Effort Mid-Conversation).

use super::Dialect;
use crate::arm::Effort;
use crate::effort::Pen;
use crate::json::{self, Edit, Object};
use crate::takes::Takes;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use std::borrow::Cow;

/// How a dialect says a change of effort within a conversation.
pub trait Band: Send + Sync {
    /// Where a request says the effort that holds from the beginning: a field, and the one within it.
    fn effort_at(&self) -> [&'static str; 2];

    /// The header that asks for it, and the word there.
    fn beta(&self) -> Option<(&'static str, &'static str)> {
        None
    }

    /// The entry that says this effort; `None` where it cannot be said so. What cannot be said so must not be where a conversation
    /// begins either, since there is no way back to it or from it.
    fn entry(&self, effort: Effort) -> Option<String>;

    /// A request with these fields takes no such entry.
    fn refuses(&self, fields: &Object<'_>) -> bool;

    /// So many of these entries stand before a change that holds for the answer to them; `None` where no place would do.
    fn place(&self, entries: &[&str]) -> Option<usize>;

    /// An entry of the client's without what it says of effort itself; `None` where that cannot be told apart from the rest.
    fn silent<'e>(&self, entry: &'e str) -> Option<Silent<'e>>;
}

/// An entry of a conversation that says nothing of effort.
pub enum Silent<'e> {
    /// This is what it says.
    Says(Cow<'e, str>),
    /// It said nothing else.
    Gone,
}

/// A change of effort within a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// So many entries of the conversation stood before it, in the body that goes out and without entries that flyball itself put in.
    pub at: usize,
    /// The effort from there on.
    pub effort: Effort,
}

/// A request that says its effort within the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InBandRequest {
    /// The body that goes out.
    pub body: Bytes,
    /// A header that goes out with it, in the place of the client's own of this name: it holds what that one says.
    pub header: Option<(&'static str, HeaderValue)>,
}

/// A model that takes changes of effort within a conversation.
#[derive(Clone, Copy)]
pub struct InBand {
    band: &'static dyn Band,
    /// The field that holds the conversation.
    list: &'static str,
}

impl InBand {
    /// How this model of a provider of this kind takes them in this dialect; `None` where it takes none.
    #[must_use]
    pub fn of(dialect: &dyn Dialect, kind: &str, model: &str) -> Option<InBand> {
        let band = dialect.band()?;
        let list = dialect.turns_field();
        let taken = Takes::of(kind, model).effort_in_band;
        taken.then_some(InBand { band, list })
    }

    /// Where a change belongs that is to hold for the answer to this body ([`Change::at`]), after all that earlier requests have sent.
    /// `None` where none would hold: then the effort stays as it is, or the request as a whole says the new one, which costs the cache.
    #[must_use]
    pub fn place(&self, body: &[u8]) -> Option<usize> {
        let fields = Object::read(body).ok()?;
        if self.band.refuses(&fields) {
            return None;
        }
        let list = self.listed(&fields)?;
        let places = json::entries(&list)?;
        let entries: Vec<&str> = places.into_iter().map(|at| &list[at]).collect();
        self.band.place(&entries)
    }

    /// The body as a request of its conversation: as a whole it says the effort that the conversation `began` with (`None`: it said none
    /// and the model took its own), and each later change stands in its place, so that what earlier requests have sent comes first as it
    /// was sent. The last of the changes, or what it began with where there is none, is the effort of this request.
    ///
    /// `changes` are in their order. Of several at one place the last one counts, and one that changes nothing is not said. What the
    /// client says of effort in entries of its own goes, since it would hold against what was decided. `headers` are the client's, as far as
    /// they go out.
    ///
    /// `None` where this body cannot say it so: the conversation is shorter than the changes, a part of it is kept elsewhere or was
    /// summed up by the vendor, thinking is off, or another field stands in the way. Then the request as a whole says its effort.
    #[must_use]
    pub fn write(
        &self,
        body: &Bytes,
        began: Option<Effort>,
        changes: &[Change],
        headers: &HeaderMap,
    ) -> Option<InBandRequest> {
        let fields = Object::read(body).ok()?;
        if self.band.refuses(&fields) || !changes.is_sorted_by_key(|change| change.at) {
            return None;
        }
        let [outer, inner] = self.band.effort_at();
        let mut pen = Pen::new(&fields);
        match began {
            Some(effort) => {
                self.band.entry(effort)?;
                pen.set_text(&[outer, inner], effort.name());
            }
            None => pen.replace_inner(outer, inner),
        }
        let list = self.listed(&fields)?;
        let woven = self.woven(&list, began, changes)?;
        if woven.changes > 0 || matches!(list, Cow::Borrowed(_)) {
            pen.edits.push(Edit::set(&[self.list], woven.list));
        }
        let said = fields.edited(&pen.edits).map(Bytes::from);
        let beta = self.band.beta().filter(|_| woven.changes > 0);
        Some(InBandRequest {
            body: said.unwrap_or_else(|| body.clone()),
            header: beta.and_then(|(name, word)| Some((name, beside(name, word, headers)?))),
        })
    }

    /// The conversation as a list. One text alone, where a dialect takes that, is what the user says.
    fn listed<'a>(&self, fields: &Object<'a>) -> Option<Cow<'a, str>> {
        let raw = fields.some(self.list)?;
        match raw.as_bytes().first() {
            Some(b'[') => Some(Cow::Borrowed(raw)),
            Some(b'"') => {
                let list = format!("[{{\"role\":\"user\",\"content\":{raw}}}]");
                Some(Cow::Owned(list))
            }
            _ => None,
        }
    }

    /// The list with the changes in it. Everything else in it is copied as it stands.
    fn woven(&self, list: &str, began: Option<Effort>, changes: &[Change]) -> Option<Woven> {
        let places = json::entries(list)?;
        let begins = places.first().map_or(list.len() - 1, |at| at.start);
        let mut woven = Woven {
            list: list[..begins].to_owned(),
            said: began,
            ..Woven::default()
        };
        woven.list.reserve(list.len() + 64 * changes.len());
        let mut changes = changes.iter().peekable();
        let (mut due, mut end) = (None, begins);
        let length = places.len();
        for (i, at) in places.into_iter().enumerate() {
            while let Some(change) = changes.next_if(|change| change.at <= i) {
                due = Some(change.effort);
            }
            let between = &list[end..at.start];
            end = at.end;
            // Two changes must not stand side by side, so one is said only before an entry that stays, or at the end.
            let Silent::Says(entry) = self.band.silent(&list[at])? else {
                continue;
            };
            woven.change(self.band, due.take())?;
            woven.put(if i == 0 { "," } else { between }, &entry);
        }
        for change in changes {
            if change.at > length {
                return None;
            }
            due = Some(change.effort);
        }
        woven.change(self.band, due)?;
        woven.list.push_str(&list[end..]);
        let summed_up = memchr::memmem::find(list.as_bytes(), SUMMARY).is_some();
        (woven.changes == 0 || !summed_up).then_some(woven)
    }
}

/// What the vendor made of the beginning of a conversation. A change that stood in it no longer holds, and OpenAI refuses one before it
/// (tests of gpt-6-astra in public repositories: «not supported with compaction without a subsequent configuration update»).
const SUMMARY: &[u8] = b"\"compaction\"";

/// A conversation while changes of effort are put into it.
#[derive(Default)]
struct Woven {
    list: String,
    /// The effort that holds at its end.
    said: Option<Effort>,
    /// So many changes are in it.
    changes: usize,
    /// An entry is in it.
    begun: bool,
}

impl Woven {
    fn put(&mut self, between: &str, entry: &str) {
        if self.begun {
            self.list.push_str(between);
        }
        self.list.push_str(entry);
        self.begun = true;
    }

    fn change(&mut self, band: &dyn Band, due: Option<Effort>) -> Option<()> {
        let Some(effort) = due.filter(|effort| self.said != Some(*effort)) else {
            return Some(());
        };
        self.put(",", &band.entry(effort)?);
        self.said = Some(effort);
        self.changes += 1;
        Some(())
    }
}

/// The client's own header of this name with a word more; `None` where it has that word.
fn beside(name: &str, word: &str, headers: &HeaderMap) -> Option<HeaderValue> {
    let own = headers.get_all(name).iter();
    let own = own.filter_map(|value| value.to_str().ok());
    let words = own.flat_map(|list| list.split(',').map(str::trim));
    let mut words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    if words.contains(&word) {
        return None;
    }
    words.push(word);
    let all = words.join(",");
    HeaderValue::from_str(&all).ok()
}

#[cfg(test)]
mod tests;
