//! Which address stands behind a stretch of an answer, in the shape that OpenAI's two APIs share.

use super::lenient::{Count, Text};
use super::{Citation, Event};
use serde::Deserialize;

/// A cited address.
#[derive(Deserialize)]
pub(super) struct UrlCitation<'a> {
    #[serde(default, borrow)]
    url: Text<'a>,
    #[serde(default, borrow)]
    title: Text<'a>,
    #[serde(default)]
    start_index: Count,
    #[serde(default)]
    end_index: Count,
}

impl UrlCitation<'_> {
    pub(super) fn tell(&self, on: &mut dyn FnMut(Event)) {
        if let Some(url) = self.url.words() {
            on(Event::Citation(Citation {
                url: url.to_owned(),
                title: self.title.text().unwrap_or_default().to_owned(),
                start: self.start_index.get().unwrap_or(0),
                end: self.end_index.get().unwrap_or(0),
            }));
        }
    }
}
