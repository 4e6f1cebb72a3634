//! The audit log: who did what to keys and configuration, when, and how it was before and after. Each entry is sealed by a hash over
//! itself and the seal of the entry before it, so that one that was changed, moved or taken out is found.
//!
//! Pure. A chain cannot tell that its newest entries were cut off: whoever wants to know that keeps a seal elsewhere, as the process's log does.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The seal before the first entry.
pub const BEGINNING: [u8; 32] = [0; 32];

/// What was done.
#[derive(Clone, Debug, PartialEq)]
pub struct Deed {
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Who, as far as that is known.
    pub who: String,
    /// What.
    pub what: String,
    /// To what: a key's name, a file.
    pub of: String,
    /// How it was.
    pub before: Value,
    /// How it is.
    pub after: Value,
}

impl Deed {
    /// Its line in the log.
    #[must_use]
    pub fn line(&self, number: i64) -> String {
        let time = jiff::Timestamp::from_millisecond(self.at_ms).unwrap_or_default();
        json!({
            "number": number, "time": time.to_string(), "who": self.who, "what": self.what, "of": self.of,
            "before": self.before, "after": self.after,
        })
        .to_string()
    }
}

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The first is 1.
    pub number: i64,
    /// The whole of it, as JSON.
    pub line: String,
    /// Its seal.
    pub seal: Vec<u8>,
}

/// The seal of a line that comes after the entry with this seal.
#[must_use]
pub fn seal(before: &[u8], line: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(line.as_bytes());
    hash.finalize().into()
}

/// A seal as people compare it.
#[must_use]
pub fn shown(seal: &[u8]) -> String {
    seal.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Follows the chain from its beginning.
#[derive(Clone, Debug)]
pub struct Verifier {
    seal: Vec<u8>,
    number: i64,
}

impl Default for Verifier {
    fn default() -> Verifier {
        Verifier {
            seal: BEGINNING.to_vec(),
            number: 0,
        }
    }
}

impl Verifier {
    /// Takes the next entry.
    ///
    /// # Errors
    /// It is not the one that was written there.
    pub fn take(&mut self, entry: &Entry) -> Result<(), String> {
        let expected = self.number + 1;
        if entry.number != expected {
            return Err(format!(
                "entry {expected} is missing: after {} comes {}",
                self.number, entry.number
            ));
        }
        let own: Option<i64> = serde_json::from_str::<Value>(&entry.line)
            .ok()
            .and_then(|line| line["number"].as_i64());
        if own != Some(entry.number) || seal(&self.seal, &entry.line) != entry.seal[..] {
            return Err(format!(
                "entry {expected} is not what was written: it, or one before it, was changed afterwards"
            ));
        }
        self.number = entry.number;
        self.seal.clone_from(&entry.seal);
        Ok(())
    }

    /// How many entries there were, and the seal of the last.
    #[must_use]
    pub fn end(&self) -> (i64, String) {
        (self.number, shown(&self.seal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Vec<Entry> {
        let mut before = BEGINNING.to_vec();
        (1..=4)
            .map(|number| {
                let deed = Deed {
                    at_ms: number * 1_000,
                    who: "a test".into(),
                    what: "key changed".into(),
                    of: "app".into(),
                    before: json!({"team": number}),
                    after: json!({"team": number + 1}),
                };
                let line = deed.line(number);
                before = seal(&before, &line).to_vec();
                Entry {
                    number,
                    line,
                    seal: before.clone(),
                }
            })
            .collect()
    }

    fn verified(entries: &[Entry]) -> Result<(i64, String), String> {
        let mut verifier = Verifier::default();
        entries.iter().try_for_each(|entry| verifier.take(entry))?;
        Ok(verifier.end())
    }

    #[test]
    fn a_chain_that_nobody_touched_verifies() {
        let chain = chain();
        let (entries, seal) = verified(&chain).expect("whole");
        assert_eq!((entries, seal), (4, shown(&chain[3].seal)));
        assert_eq!(verified(&[]).expect("whole").0, 0);
    }

    #[test]
    fn an_entry_that_was_changed_moved_or_taken_out_is_found() {
        let mut changed = chain();
        changed[1].line = changed[1].line.replace("key changed", "key revoked");
        assert!(verified(&changed).expect_err("changed").contains("entry 2"));
        // Somebody who seals the changed entry anew must seal all that follow.
        let mut sealed = chain();
        sealed[1].line = sealed[1].line.replace("key changed", "key revoked");
        sealed[1].seal = seal(&sealed[0].seal, &sealed[1].line).to_vec();
        assert!(verified(&sealed).expect_err("sealed").contains("entry 3"));
        let mut missing = chain();
        missing.remove(1);
        assert!(verified(&missing).expect_err("missing").contains("entry 2"));
        let mut moved = chain();
        moved.swap(1, 2);
        assert!(verified(&moved).is_err());
    }
}
