//! The query of an admin request: names that the call knows, values of bounded size, and a sentence for whatever is wrong.

use percent_encoding::percent_decode_str;

/// The most bytes that a query may have.
const BYTES_MAX: usize = 4096;

/// What a query may say.
pub(super) struct QueryNames<'k> {
    /// Names that stand once at most.
    pub(super) once: &'k [&'k str],
    /// Names that may stand several times.
    pub(super) often: &'k [&'k str],
}

/// A query's pairs, in order.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query whose names are all known.
    ///
    /// # Errors
    /// A sentence that says what may stand there.
    pub(super) fn read(query: Option<&str>, known: &QueryNames<'_>) -> Result<Query, String> {
        let query = query.unwrap_or_default();
        if query.len() > BYTES_MAX {
            return Err(format!("the query is longer than {BYTES_MAX} bytes"));
        }
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            let often = known.often.contains(&name.as_str());
            if !often && !known.once.contains(&name.as_str()) {
                let all = [known.once, known.often].concat();
                return Err(format!(
                    "the query says {name:?}; it may say: {}",
                    all.join(" ")
                ));
            }
            if !often && pairs.iter().any(|(there, _)| *there == name) {
                return Err(format!("the query says {name} twice"));
            }
            pairs.push((name, value));
        }
        Ok(Query(pairs))
    }

    /// The value of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(there, _)| there == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The values of this name, in order.
    pub(super) fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        let found = self.0.iter().filter(move |(there, _)| there == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A whole number between 1 and `most`, or `usual` where nothing is said.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn number(&self, name: &str, usual: usize, most: usize) -> Result<usize, String> {
        let Some(text) = self.get(name) else {
            return Ok(usual);
        };
        let number = text.parse().ok().filter(|n| (1..=most).contains(n));
        number.ok_or_else(|| format!("{name} is a whole number from 1 to {most}, e.g. {usual}"))
    }

    /// Whether something was asked for: `true` or `false`, the latter where nothing is said.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn flag(&self, name: &str) -> Result<bool, String> {
        match self.get(name) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1" | "") => Ok(true),
            Some(_) => Err(format!("{name} is true or false")),
        }
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let plain = text.replace('+', " ");
    let text = percent_decode_str(&plain).decode_utf8();
    text.map(|t| t.into_owned())
        .map_err(|_| "the query is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_whole_or_told_what_is_wrong() {
        let known = QueryNames {
            once: &["by", "limit", "outcomes"],
            often: &["only"],
        };
        let read = |text: &str| Query::read(Some(text), &known);
        let query = read("by=team%2Ckey&limit=7&only=a%3D1&outcomes&only=b=2").expect("right");
        assert_eq!(query.get("by"), Some("team,key"));
        assert_eq!(query.all("only").collect::<Vec<_>>(), ["a=1", "b=2"]);
        assert_eq!(query.number("limit", 50, 200), Ok(7));
        assert_eq!(query.flag("outcomes"), Ok(true));
        for (text, says) in [
            ("bye=team", "by limit outcomes only"),
            ("by=a&by=b", "twice"),
            ("by=%ff", "UTF-8"),
        ] {
            let wrong = read(text).expect_err("wrong");
            assert!(wrong.contains(says), "{wrong}");
        }
        assert!(read(&"x".repeat(BYTES_MAX + 1)).is_err());
        for limit in ["0", "201", "-1", "x", ""] {
            let query = read(&format!("limit={limit}")).expect("a query");
            let wrong = query.number("limit", 50, 200).expect_err("wrong");
            assert!(wrong.contains("from 1 to 200"), "{wrong}");
        }
        assert!(
            read("outcomes=perhaps")
                .expect("a query")
                .flag("outcomes")
                .is_err()
        );
    }
}
