//! Reads a TOML file field by field, remembers every mistake with file and line, and goes on, so
//! that all of them are told at once. Knows no setting's meaning and never repeats a value that it
//! was not asked to show.
//!
//! A [`Page`] is one file; a [`Table`] is one table of it, read with typed getters and closed with
//! [`Table::finish`], which complains of the keys that nobody asked for.

use crate::money::PicoUsd;
use std::cell::RefCell;
use std::fmt;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One mistake in a file (or on the command line), in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Complaint {
    /// The file as the operator named it, or the flag or variable at fault.
    pub file: String,
    /// The line, from 1; `None` where the fault is in no line.
    pub line: Option<usize>,
    /// What is wrong.
    pub text: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Complaint {
    /// A complaint about something that has no line.
    #[must_use]
    pub fn whole(file: impl Into<String>, text: impl Into<String>) -> Complaint {
        Complaint {
            file: file.into(),
            line: None,
            text: text.into(),
            help: None,
        }
    }

    /// The same complaint with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Complaint {
        self.help = Some(help.into());
        self
    }
}

/// `rules/code.toml:12: unknown model "haikuu"; did you mean "haiku"?`
impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.text)?;
        self.help.iter().try_for_each(|help| write!(f, "; {help}"))
    }
}

/// The text of one file and the complaints about it.
#[derive(Debug)]
pub struct Page<'a> {
    /// The file as the operator named it.
    pub file: &'a str,
    text: &'a str,
    complaints: RefCell<Vec<Complaint>>,
}

impl<'a> Page<'a> {
    /// A page with no complaints yet.
    #[must_use]
    pub fn new(file: &'a str, text: &'a str) -> Page<'a> {
        Page {
            file,
            text,
            complaints: RefCell::new(Vec::new()),
        }
    }

    /// The file as a tree. `None`, with every mistake noted, where it is not TOML.
    #[must_use]
    pub fn parse(&self) -> Option<Spanned<DeTable<'a>>> {
        let (tree, mistakes) = DeTable::parse_recoverable(self.text);
        for mistake in &mistakes {
            // The message alone: the error's own Display would show the line, and a secret with it.
            let line = self.line(mistake.span().map_or(0, |s| s.start));
            self.complain(line, format!("not TOML: {}", mistake.message()), None);
        }
        mistakes.is_empty().then_some(tree)
    }

    /// The line, from 1, in which this byte is.
    #[must_use]
    pub fn line(&self, byte: usize) -> usize {
        let before = self.text.as_bytes().iter().take(byte);
        before.filter(|b| **b == b'\n').count() + 1
    }

    /// Notes a mistake.
    pub fn complain(&self, line: usize, text: String, help: Option<String>) {
        self.complaints.borrow_mut().push(Complaint {
            file: self.file.to_owned(),
            line: Some(line),
            text,
            help,
        });
    }

    /// Every mistake, by line.
    #[must_use]
    pub fn complaints(self) -> Vec<Complaint> {
        let mut all = self.complaints.into_inner();
        all.sort_by_key(|c| c.line);
        all
    }

    /// How many mistakes there are so far.
    #[must_use]
    pub fn mistakes(&self) -> usize {
        self.complaints.borrow().len()
    }
}

/// A word of the file and the line in which it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word.
    pub text: String,
    /// Its line, from 1.
    pub line: usize,
}

/// One table of a page. Every getter gives `None` both for an absent key and, with a complaint, for a wrong value.
#[derive(Debug)]
pub struct Table<'p> {
    page: &'p Page<'p>,
    tree: &'p DeTable<'p>,
    /// The line in which the table begins, from 1.
    pub line: usize,
    subject: String,
    asked: RefCell<Vec<&'static str>>,
}

impl<'p> Table<'p> {
    /// The whole file.
    #[must_use]
    pub fn top(page: &'p Page<'p>, tree: &'p Spanned<DeTable<'p>>) -> Table<'p> {
        Table::of(page, tree.get_ref(), 1)
    }

    fn of(page: &'p Page<'p>, tree: &'p DeTable<'p>, line: usize) -> Table<'p> {
        Table {
            page,
            tree,
            line,
            subject: String::new(),
            asked: RefCell::new(Vec::new()),
        }
    }

    /// From now on complaints of this table begin with these words, e.g. `rule "small diff"`.
    pub fn call(&mut self, subject: String) {
        self.subject = subject + ": ";
    }

    /// Notes a mistake in the value of `key`, or in the table where the key is absent.
    pub fn complain(&self, key: &str, text: impl fmt::Display, help: Option<String>) {
        let line = self.tree.get(key).map(|v| self.page.line(v.span().start));
        self.complain_at(line.unwrap_or(self.line), text, help);
    }

    /// Notes a mistake in this line.
    pub fn complain_at(&self, line: usize, text: impl fmt::Display, help: Option<String>) {
        self.page
            .complain(line, format!("{}{text}", self.subject), help);
    }

    /// A complaint about this line that is not noted: for a warning.
    #[must_use]
    pub fn complaint(&self, line: usize, text: String, help: Option<String>) -> Complaint {
        Complaint {
            file: self.page.file.to_owned(),
            line: Some(line),
            text: format!("{}{text}", self.subject),
            help,
        }
    }

    /// The file and the line in which the value of `key` stands, `flyball.toml:12`.
    #[must_use]
    pub fn place(&self, key: &str) -> String {
        format!("{}:{}", self.page.file, self.line_of(key))
    }

    /// Whether the key is there, right or wrong.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.tree.contains_key(key)
    }

    /// It is a table, and not one value.
    #[must_use]
    pub fn is_table(&self, key: &str) -> bool {
        let value = self.tree.get(key);
        value.is_some_and(|value| value.get_ref().as_table().is_some())
    }

    fn value(&self, key: &'static str) -> Option<&'p Spanned<DeValue<'p>>> {
        self.asked.borrow_mut().push(key);
        self.tree.get(key)
    }

    fn read<T>(
        &self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&'p DeValue<'p>) -> Option<T>,
    ) -> Option<T> {
        let read = read(self.value(key)?.get_ref());
        if read.is_none() {
            self.complain(key, format_args!("{key} must be {wanted}"), None);
        }
        read
    }

    /// A string.
    #[must_use]
    pub fn text(&self, key: &'static str) -> Option<&'p str> {
        self.read(key, "a string", |v| v.as_str())
    }

    /// A string that has to be there and not be blank.
    #[must_use]
    pub fn needed(&self, key: &'static str) -> Option<&'p str> {
        if !self.has(key) {
            self.value(key);
            self.complain(key, format_args!("{key} is missing"), None);
            return None;
        }
        let text = self.text(key)?;
        if text.trim().is_empty() {
            self.complain(key, format_args!("{key} is empty"), None);
            return None;
        }
        Some(text)
    }

    /// `true` or `false`.
    #[must_use]
    pub fn flag(&self, key: &'static str) -> Option<bool> {
        self.read(key, "true or false", DeValue::as_bool)
    }

    /// A whole number, 0 or more.
    #[must_use]
    pub fn count(&self, key: &'static str) -> Option<u64> {
        self.read(key, "a whole number, 0 or more", |v| {
            let number = v.as_integer()?;
            u64::from_str_radix(number.as_str(), number.radix()).ok()
        })
    }

    /// Whole numbers, 0 or more; a single one is a list of one.
    #[must_use]
    pub fn counts(&self, key: &'static str) -> Option<Vec<u64>> {
        let number = |v: &DeValue<'_>| {
            let number = v.as_integer()?;
            u64::from_str_radix(number.as_str(), number.radix()).ok()
        };
        self.read(key, "a list of whole numbers", |v| match v {
            DeValue::Array(items) => items.iter().map(|item| number(item.get_ref())).collect(),
            one => number(one).map(|one| vec![one]),
        })
    }

    /// A whole number, 1 or more.
    #[must_use]
    pub fn count_from_1(&self, key: &'static str) -> Option<u64> {
        let count = self.count(key)?;
        if count == 0 {
            self.complain(key, format_args!("{key} must be at least 1"), None);
            return None;
        }
        Some(count)
    }

    /// A finite number.
    #[must_use]
    pub fn number(&self, key: &'static str) -> Option<f64> {
        self.read(key, "a number", |v| {
            let number: f64 = number_text(v)?.parse().ok()?;
            number.is_finite().then_some(number)
        })
    }

    /// Dollars, 0 or more, exactly as written: a number or a string.
    #[must_use]
    pub fn money(&self, key: &'static str) -> Option<PicoUsd> {
        let value = self.value(key)?.get_ref();
        let text = value.as_str().or_else(|| number_text(value));
        let Some(text) = text else {
            self.complain(
                key,
                format_args!("{key} must be dollars like 12 or 0.25"),
                None,
            );
            return None;
        };
        match PicoUsd::from_usd_text(text) {
            Ok(usd) if usd < PicoUsd::ZERO => {
                self.complain(key, format_args!("{key} must not be negative"), None);
                None
            }
            Ok(usd) => Some(usd),
            Err(why) => {
                self.complain(key, format_args!("{key}: {why}"), None);
                None
            }
        }
    }

    /// A length of time above zero, like `"150ms"`.
    #[must_use]
    pub fn duration(&self, key: &'static str) -> Option<Duration> {
        let wanted = "a time above 0 like \"150ms\", \"30s\", \"5m\", \"1h\" or \"400d\"";
        self.read(key, wanted, |v| parse_duration(v.as_str()?))
    }

    /// One of a closed set of names; `what` says what the names are.
    #[must_use]
    pub fn choice<T: Copy>(
        &self,
        key: &'static str,
        what: &str,
        options: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(key)?;
        self.choose(what, text, self.line_of(key), options)
    }

    /// Several of a closed set of names. A single string is a list of one.
    #[must_use]
    pub fn choices<T: Copy>(
        &self,
        key: &'static str,
        what: &str,
        options: &[(&'static str, T)],
    ) -> Vec<T> {
        let words = self.words(key).unwrap_or_default();
        let chosen = words
            .iter()
            .map(|w| self.choose(what, &w.text, w.line, options));
        chosen.flatten().collect()
    }

    /// The option of this name, or a complaint with the nearest name or all of them.
    #[must_use]
    pub fn choose<T: Copy>(
        &self,
        what: &str,
        name: &str,
        line: usize,
        options: &[(&'static str, T)],
    ) -> Option<T> {
        let found = options.iter().find(|(n, _)| *n == name);
        if found.is_none() {
            let help = suggest(name, options.iter().map(|(n, _)| *n));
            self.complain_at(line, format_args!("unknown {what} \"{name}\""), help);
        }
        found.map(|(_, value)| *value)
    }

    /// Strings, none of them empty. A single string is a list of one.
    #[must_use]
    pub fn words(&self, key: &'static str) -> Option<Vec<Word>> {
        let value = self.value(key)?;
        let items = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        };
        let mut words = Vec::with_capacity(items.len());
        for item in items {
            let line = self.page.line(item.span().start);
            match item.get_ref().as_str() {
                Some(text) if !text.is_empty() => words.push(Word {
                    text: text.to_owned(),
                    line,
                }),
                _ => self.complain_at(line, format_args!("{key} must be a list of words"), None),
            }
        }
        Some(words)
    }

    /// A table of strings under names of the operator's own.
    #[must_use]
    pub fn pairs(&self, key: &'static str) -> Vec<(String, String)> {
        let wanted = "a table of strings like { team = \"x\" }";
        let Some(tree) = self.read(key, wanted, |v| v.as_table()) else {
            return Vec::new();
        };
        let mut pairs = Vec::with_capacity(tree.len());
        for (name, value) in tree {
            match value.get_ref().as_str() {
                Some(text) => pairs.push((name.get_ref().to_string(), text.to_owned())),
                None => self.complain(key, format_args!("{key} must be {wanted}"), None),
            }
        }
        pairs
    }

    /// A table within this one; its complaints begin like this one's.
    #[must_use]
    pub fn table(&self, key: &'static str) -> Option<Table<'p>> {
        let tree = self.read(key, "a table", |v| v.as_table())?;
        Some(self.within(tree, self.line_of(key)))
    }

    /// The tables of `[[key]]`.
    #[must_use]
    pub fn tables(&self, key: &'static str) -> Vec<Table<'p>> {
        let wanted = format!("a list of tables, each under [[{key}]]");
        let items = self.read(key, &wanted, |v| v.as_array());
        let mut tables = Vec::new();
        for item in items.into_iter().flat_map(|items| items.iter()) {
            let line = self.page.line(item.span().start);
            match item.get_ref().as_table() {
                Some(tree) => tables.push(self.within(tree, line)),
                None => self.complain_at(line, format_args!("{key} must be {wanted}"), None),
            }
        }
        tables
    }

    fn within(&self, tree: &'p DeTable<'p>, line: usize) -> Table<'p> {
        Table {
            subject: self.subject.clone(),
            ..Table::of(self.page, tree, line)
        }
    }

    /// The line of the value of `key`, or of the table where it is absent.
    #[must_use]
    pub fn line_of(&self, key: &str) -> usize {
        let value = self.tree.get(key);
        value.map_or(self.line, |v| self.page.line(v.span().start))
    }

    /// Complains of every key that was never asked for.
    pub fn finish(self) {
        let asked = self.asked.borrow();
        for (key, _) in self.tree {
            let name = key.get_ref().as_ref();
            if !asked.contains(&name) {
                let line = self.page.line(key.span().start);
                let help = suggest(name, asked.iter().copied());
                self.complain_at(line, format_args!("unknown key \"{name}\""), help);
            }
        }
    }
}

/// A decimal number as written, without its underscores.
fn number_text<'p>(value: &'p DeValue<'p>) -> Option<&'p str> {
    match value {
        DeValue::Integer(i) if i.radix() == 10 => Some(i.as_str()),
        DeValue::Float(f) => Some(f.as_str()),
        _ => None,
    }
}

/// Reads `"150ms"`, `"30s"`, `"5m"`, `"1h"`, `"400d"`: a whole number above 0 and a unit.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit.trim_start() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let total = number.checked_mul(milliseconds).filter(|ms| *ms > 0)?;
    Some(Duration::from_millis(total))
}

/// `did you mean "haiku"?`, or all the names where none is near and they are few.
#[must_use]
pub fn suggest<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let names: Vec<&str> = names.collect();
    // A third of the letters may be wrong, but at least two: beyond that a guess misleads.
    let far = word.chars().count().div_ceil(3).max(2) + 1;
    let distance =
        |name: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &name.to_lowercase());
    let near = names.iter().map(|n| (distance(n), *n)).min();
    match near {
        Some((d, name)) if d < far && d < name.chars().count() => {
            Some(format!("did you mean \"{name}\"?"))
        }
        _ if names.is_empty() || names.len() > 16 => None,
        _ => Some(format!("use one of: {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str, read: impl FnOnce(Table<'_>)) -> Vec<String> {
        let page = Page::new("a.toml", text);
        if let Some(tree) = page.parse() {
            read(Table::top(&page, &tree));
        }
        page.complaints().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mistake_is_told_with_its_line_in_order() {
        let text =
            "z = 5\n\na = \"x\"\nlist = [\n \"ok\",\n 7,\n]\n[sub]\ncolour = 1\n[[many]]\nn = -1\n";
        let told = complaints(text, |t| {
            assert_eq!(t.text("z"), None);
            assert_eq!(t.flag("a"), None);
            assert_eq!(t.words("list").map(|w| w.len()), Some(1));
            let sub = t.table("sub").expect("a table");
            assert_eq!(sub.count("color"), None);
            sub.finish();
            for many in t.tables("many") {
                assert_eq!(many.count("n"), None);
                many.finish();
            }
            t.finish();
        });
        assert_eq!(
            told,
            [
                "a.toml:1: z must be a string",
                "a.toml:3: a must be true or false",
                "a.toml:6: list must be a list of words",
                "a.toml:9: unknown key \"colour\"; did you mean \"color\"?",
                "a.toml:11: n must be a whole number, 0 or more",
            ]
        );
    }

    #[test]
    fn broken_toml_names_its_lines_and_never_shows_them() {
        let told = complaints("ok = 1\nkey = \"sk-very-secret\nother = = 2\n", |_| ());
        assert!(told.len() >= 2, "{told:?}");
        assert!(told[0].starts_with("a.toml:2: not TOML: "), "{told:?}");
        assert!(!told.concat().contains("very-secret"), "{told:?}");
    }

    #[test]
    fn money_is_read_from_its_own_text() {
        for (written, pico) in [
            ("0.1", Some(100_000_000_000)),
            ("1_000", Some(1_000_000_000_000_000)),
            ("\"0.000000000001\"", Some(1)),
            ("2.5e-8", Some(25_000)),
            ("0.3000000000000", Some(300_000_000_000)),
            ("-1", None),
            ("inf", None),
            ("0x10", None),
            ("true", None),
            ("1e-13", None),
        ] {
            let told = complaints(&format!("usd = {written}"), |t| {
                assert_eq!(t.money("usd"), pico.map(PicoUsd), "{written}");
            });
            assert_eq!(
                told.len(),
                usize::from(pico.is_none()),
                "{written}: {told:?}"
            );
        }
    }

    #[test]
    fn durations_need_a_unit_and_are_above_zero() {
        for (text, milliseconds) in [
            ("150ms", Some(150)),
            ("30s", Some(30_000)),
            ("5 m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("0s", None),
            ("5", None),
            ("1.5s", None),
            ("s", None),
            ("99999999999999999999h", None),
            ("18446744073709551615h", None),
        ] {
            let expected = milliseconds.map(Duration::from_millis);
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn a_number_that_is_not_finite_is_a_mistake() {
        let told = complaints("speed = inf", |t| assert_eq!(t.number("speed"), None));
        assert_eq!(told, ["a.toml:1: speed must be a number"]);
    }

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let names = ["haiku", "sonnet", "opus"];
        for (word, help) in [
            ("haikuu", Some("did you mean \"haiku\"?")),
            ("Opus", Some("did you mean \"opus\"?")),
            ("gemini", Some("use one of: haiku, sonnet, opus")),
        ] {
            assert_eq!(suggest(word, names.into_iter()).as_deref(), help, "{word}");
        }
        assert_eq!(suggest("x", std::iter::empty()), None);
    }
}
