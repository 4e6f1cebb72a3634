//! Whether a request holds what must not leave the operator's own machines: personal data that carries its own proof (a check digit, a
//! checksum, a structure), secrets and keys of known forms, and the operator's own words and patterns.
//!
//! Pure, and linear in the length of the text, whatever the text is. It says which *classes* were found and never what or where, so that
//! nothing of it can end up in a log, a metric or an error.
//!
//! | file | what it knows |
//! |---|---|
//! | `text` | what a body says, in whatever it is wrapped: escapes, letters of other scripts, parts, base64 |
//! | `search` | one search: what counts, how often, what is near |
//! | `groups` | digits in groups |
//! | `numbers` | numbers in a text, in one piece or in groups |
//! | `cards`, `ibans`, `ids` | what makes a number one of these |
//! | `secrets`, `contacts`, `own` | keys by their forms; addresses and telephones; the operator's own words |
//! | `examples` | values that documentation uses and that are nobody's |

mod cards;
mod checks;
mod contacts;
mod examples;
mod groups;
mod ibans;
mod ids;
mod near;
mod numbers;
mod own;
mod search;
mod secrets;
mod text;

pub use own::flaw;

use own::Own;
use search::Search;
use std::fmt;

/// What can be found. A closed set: a metric's label and the value of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Payment cards.
    Cards,
    /// Bank accounts by their international number.
    Ibans,
    /// Numbers that a state gives its people.
    Ids,
    /// Keys, tokens, passwords in addresses.
    Secrets,
    /// E-mail addresses, many of them.
    Emails,
    /// Telephone numbers, many of them.
    Phones,
    /// The operator's own words and patterns.
    Own,
    /// Text that cannot be read.
    Unread,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 8] = [
        Class::Cards,
        Class::Ibans,
        Class::Ids,
        Class::Secrets,
        Class::Emails,
        Class::Phones,
        Class::Own,
        Class::Unread,
    ];

    /// The name in configuration, headers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Class::Cards => "cards",
            Class::Ibans => "ibans",
            Class::Ids => "ids",
            Class::Secrets => "secrets",
            Class::Emails => "emails",
            Class::Phones => "phones",
            Class::Own => "own",
            Class::Unread => "unread",
        }
    }

    fn bit(self) -> u8 {
        let place = Class::ALL.iter().take_while(|c| **c != self).count();
        1 << place
    }

    /// Its place in a list of one entry a class.
    fn place(self) -> usize {
        Class::ALL.iter().take_while(|c| **c != self).count()
    }
}

/// A set of classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes(u8);

impl Classes {
    /// The set with this class too.
    #[must_use]
    pub fn with(self, class: Class) -> Classes {
        Classes(self.0 | class.bit())
    }

    /// Both sets together.
    #[must_use]
    pub fn and(self, other: Classes) -> Classes {
        Classes(self.0 | other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub fn within(self, other: Classes) -> Classes {
        Classes(self.0 & other.0)
    }

    /// Whether the class is one of them.
    #[must_use]
    pub fn has(self, class: Class) -> bool {
        self.0 & class.bit() != 0
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Class> {
        Class::ALL.into_iter().filter(move |class| self.has(*class))
    }
}

impl FromIterator<Class> for Classes {
    fn from_iter<T: IntoIterator<Item = Class>>(all: T) -> Classes {
        all.into_iter().fold(Classes::default(), Classes::with)
    }
}

/// `cards, ids`
impl fmt::Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Class::name).collect();
        f.write_str(&names.join(", "))
    }
}

/// What to look for.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The classes that are looked for.
    pub detect: Classes,
    /// The operator's own words.
    pub words: Vec<String>,
    /// The operator's own patterns.
    pub patterns: Vec<String>,
    /// So many different values of a class are needed.
    pub at_least: usize,
    /// The same of e-mail addresses and telephone numbers, of which one is ordinary.
    pub many: usize,
    /// Values of documentation count like any other.
    pub examples: bool,
}

/// Looks for what must not leave.
pub struct Detector {
    settings: Settings,
    own: Own,
}

/// The operator's words may be as confidential as what they are found in.
impl fmt::Debug for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Detector({})", self.settings.detect)
    }
}

/// What a search has found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// The classes.
    pub classes: Classes,
    /// How much was looked at, in letters, each time it was: what tests hold to be linear.
    pub work: u64,
}

impl Detector {
    /// # Errors
    /// The operator's words and patterns are too many or too large together.
    pub fn new(settings: Settings) -> Result<Detector, String> {
        let own = Own::new(&settings.words, &settings.patterns)?;
        Ok(Detector { settings, own })
    }

    /// What it looks for.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Looks through a request's body; `kind` is its content type, where it has one.
    #[must_use]
    pub fn find(&self, body: &[u8], kind: Option<&str>) -> Found {
        let said = text::of(body, kind);
        let mut search = Search::new(&said.text, &self.settings);
        search.work = said.work;
        secrets::search(&mut search);
        numbers::search(&mut search);
        contacts::search(&mut search);
        self.own.search(&mut search);
        let unread = self.settings.detect.has(Class::Unread) && said.unread;
        let mut classes = search.classes();
        if unread {
            classes = classes.with(Class::Unread);
        }
        let work = search.work;
        Found { classes, work }
    }
}

/// What becomes of a request in which something was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// It stays on local models, and is refused where none can take it.
    #[default]
    Local,
    /// It is refused.
    Refuse,
}

/// What is looked for, and what follows.
#[derive(Debug)]
pub struct Privacy {
    /// Looks.
    pub detector: Detector,
    /// The classes that make a request confidential; others are only there for rules.
    pub confidential: Classes,
    /// What follows.
    pub action: Action,
}

#[cfg(test)]
mod tests;
