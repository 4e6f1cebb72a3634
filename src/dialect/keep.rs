//! Answers that a client may name later by their ids.

use bytes::Bytes;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// Something that a client was answered with.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The request that a whole answer was to; nothing for an item of one.
    pub before: Bytes,
    /// The item, or the list of the items of a whole answer.
    pub said: String,
}

type Keep = dyn Fn(&str, &Value, bool) + Send + Sync;

/// Keeps items by their ids, and whole answers by theirs; by default it keeps nothing.
#[derive(Clone, Default)]
pub struct Keeper(Option<Arc<Keep>>);

impl Keeper {
    /// One that gives what is to be kept to `keep`: an id, what was said under it, and whether that is a whole answer.
    pub fn new(keep: impl Fn(&str, &Value, bool) + Send + Sync + 'static) -> Keeper {
        Keeper(Some(Arc::new(keep)))
    }

    /// Keeps a whole answer, and each of its items.
    pub(super) fn keep(&self, id: &str, output: &[Value]) {
        let Some(keep) = &self.0 else {
            return;
        };
        for item in output {
            if let Some(id) = item["id"].as_str() {
                keep(id, item, false);
            }
        }
        keep(id, &Value::from(output), true);
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "keeps" } else { "nothing" })
    }
}
