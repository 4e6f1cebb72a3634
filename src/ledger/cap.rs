//! What a cap is: how much of what, over which window, and which attempts count in it. Pure.
//!
//! A cap counts in *counters*. A counter's name says everything about it (`key=7&model=gpt-*|usd|day|Europe/Berlin`), so
//! that the books can be replayed by whoever has the attempts and the names; the limit is no part of it.

use super::window::{Window, Zone};
use crate::money::PicoUsd;
use crate::pattern::like;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measure {
    /// Pico-dollars.
    Usd,
    /// Tokens, in and out.
    Tokens,
    /// Attempts that reached a provider.
    Requests,
}

impl Measure {
    /// Every measure.
    pub const ALL: [Measure; 3] = [Measure::Usd, Measure::Tokens, Measure::Requests];

    /// Its name in configuration and counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Measure::Usd => "usd",
            Measure::Tokens => "tokens",
            Measure::Requests => "requests",
        }
    }

    /// So much of it, for people: `$5.00`, `1000 tokens`.
    #[must_use]
    pub fn show(self, amount: i128) -> String {
        match self {
            Measure::Usd => PicoUsd(amount).to_string(),
            Measure::Tokens | Measure::Requests => {
                let name = self.name();
                let one = name.strip_suffix('s').unwrap_or(name);
                format!("{amount} {}", if amount == 1 { one } else { name })
            }
        }
    }

    /// So much of it as a plain number: dollars for money.
    #[must_use]
    pub fn plain(self, amount: i128) -> String {
        match self {
            Measure::Usd => PicoUsd(amount).usd_text(),
            Measure::Tokens | Measure::Requests => amount.to_string(),
        }
    }
}

/// By what attempts are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dim {
    /// The organisation of the key's team.
    Organisation,
    /// The key's team.
    Team,
    /// The virtual key, by its row; 0 in open mode.
    Key,
    /// The caller's session.
    Session,
    /// The end user whom the request names, as the books name it.
    User,
    /// The provider.
    Provider,
    /// The model; a pattern with `*` where a cap names it.
    Model,
    /// The model's tier.
    Tier,
}

impl Dim {
    /// Every one, the root of the tree first.
    pub const ALL: [Dim; 8] = [
        Dim::Organisation,
        Dim::Team,
        Dim::Key,
        Dim::Session,
        Dim::User,
        Dim::Provider,
        Dim::Model,
        Dim::Tier,
    ];

    /// Its name in configuration and counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Dim::Organisation => "organisation",
            Dim::Team => "team",
            Dim::Key => "key",
            Dim::Session => "session",
            Dim::User => "user",
            Dim::Provider => "provider",
            Dim::Model => "model",
            Dim::Tier => "tier",
        }
    }

    fn index(self) -> usize {
        match self {
            Dim::Organisation => 0,
            Dim::Team => 1,
            Dim::Key => 2,
            Dim::Session => 3,
            Dim::User => 4,
            Dim::Provider => 5,
            Dim::Model => 6,
            Dim::Tier => 7,
        }
    }
}

/// What an attempt is, as far as caps care.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dims<'a> {
    /// Its organisation, where its key's team has one.
    pub organisation: &'a str,
    /// Its key's team, or nothing.
    pub team: &'a str,
    /// Its key's row as text; `0` in open mode.
    pub key: Cow<'a, str>,
    /// Its session; those without one share the unnamed session.
    pub session: &'a str,
    /// Its end user, as the books name it; those without one share the unnamed user.
    pub user: &'a str,
    /// The same as the request names it, which the books may not know: exceptions are for such names.
    pub user_name: &'a str,
    /// The provider; nothing before it is chosen.
    pub provider: &'a str,
    /// The model; nothing before it is chosen.
    pub model: &'a str,
    /// The model's tier; nothing before it is chosen.
    pub tier: &'a str,
    /// The tags that count: fixed on the key or demanded by it.
    pub tags: &'a [(String, String)],
}

/// The tag of what shadowing costs, by which its own cap counts it. No request can bring it: caps count the tags of keys only.
pub const SHADOWING: (&str, &str) = ("flyball.shadow", "yes");

/// A key's row as text, as counters call it; `0` in open mode.
#[must_use]
pub fn row_text(key: Option<i64>) -> Cow<'static, str> {
    key.map_or(Cow::Borrowed("0"), |row| Cow::Owned(row.to_string()))
}

impl Dims<'_> {
    /// It is flyball's own attempt, for no key, no session and no user.
    fn is_nobodys(&self) -> bool {
        self.key == "0" && self.tags.iter().any(|(k, v)| (&**k, &**v) == SHADOWING)
    }

    fn of(&self, dim: Dim) -> &str {
        match dim {
            Dim::Organisation => self.organisation,
            Dim::Team => self.team,
            Dim::Key => &self.key,
            Dim::Session => self.session,
            Dim::User => self.user,
            Dim::Provider => self.provider,
            Dim::Model => self.model,
            Dim::Tier => self.tier,
        }
    }
}

/// What a scope says about one dimension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pick {
    /// Nothing.
    #[default]
    Any,
    /// A counter for each value.
    Each,
    /// Only this value.
    Only(String),
}

/// Which attempts count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    picks: [Pick; 8],
    tags: BTreeMap<String, String>,
}

impl Scope {
    /// Everything counts.
    #[must_use]
    pub fn all() -> Scope {
        Scope::default()
    }

    /// The attempts of one key.
    #[must_use]
    pub fn key(id: i64) -> Scope {
        Scope::all().with(Dim::Key, Pick::Only(id.to_string()))
    }

    /// The same scope with another pick. Sessions are told apart within their key, so `Each` session is `Each` key too.
    #[must_use]
    pub fn with(mut self, dim: Dim, pick: Pick) -> Scope {
        if dim == Dim::Session && pick == Pick::Each && self.picks[Dim::Key.index()] == Pick::Any {
            self.picks[Dim::Key.index()] = Pick::Each;
        }
        self.picks[dim.index()] = pick;
        self
    }

    /// The same scope for attempts with this tag only.
    #[must_use]
    pub fn tagged(mut self, tag: &str, value: &str) -> Scope {
        self.tags.insert(tag.to_owned(), value.to_owned());
        self
    }

    /// What it says of one dimension.
    #[must_use]
    pub fn pick(&self, dim: Dim) -> &Pick {
        &self.picks[dim.index()]
    }

    /// The tags that it asks for.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tags.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Its class, for metrics: a closed set.
    #[must_use]
    pub fn class(&self) -> &'static str {
        let others = |but: Dim| {
            Dim::ALL
                .iter()
                .all(|d| *d == but || *self.pick(*d) == Pick::Any)
        };
        match self.pick(Dim::Key) {
            Pick::Any if *self == Scope::all() => "global",
            Pick::Each | Pick::Only(_) if others(Dim::Key) && self.tags.is_empty() => "keys",
            _ => "other",
        }
    }

    /// It depends on the arm, so that another arm may have room.
    #[must_use]
    pub fn by_arm(&self) -> bool {
        [Dim::Provider, Dim::Model, Dim::Tier]
            .iter()
            .any(|d| *self.pick(*d) != Pick::Any)
    }

    /// Whether such an attempt counts.
    #[must_use]
    pub fn holds(&self, dims: &Dims<'_>) -> bool {
        self.fits_all(dims, &[])
    }

    /// The same of an attempt whose model nobody has read: any may be meant.
    #[must_use]
    pub fn may_hold(&self, dims: &Dims<'_>) -> bool {
        self.fits_all(dims, &[Dim::Model, Dim::Tier])
    }

    fn fits_all(&self, dims: &Dims<'_>, unread: &[Dim]) -> bool {
        let fits = |dim: Dim| match self.pick(dim) {
            Pick::Any => true,
            _ if unread.contains(&dim) => true,
            // Nobody's session is a session too, as is nobody's user: leaving it out dodges nothing.
            Pick::Each => matches!(dim, Dim::Session | Dim::User) || !dims.of(dim).is_empty(),
            Pick::Only(pattern) if dim == Dim::Model => like(pattern, dims.model),
            Pick::Only(value) => value == dims.of(dim),
        };
        let tagged = |(key, value): (&String, &String)| {
            dims.tags.iter().any(|(k, v)| k == key && v == value)
        };
        let callers = [Dim::Key, Dim::Session, Dim::User];
        let of_callers = || callers.iter().any(|dim| *self.pick(*dim) == Pick::Each);
        Dim::ALL.into_iter().all(fits)
            && self.tags.iter().all(tagged)
            && !(dims.is_nobodys() && of_callers())
    }

    /// What tells the counters of this scope apart, written to `into`.
    pub fn subject(&self, dims: &Dims<'_>, into: &mut String) {
        into.clear();
        for dim in Dim::ALL {
            if *self.pick(dim) == Pick::Each {
                into.push_str(dims.of(dim));
                // No value has this byte, so no two subjects read alike.
                into.push('\0');
            }
        }
    }

    /// The scope of the counter in which such an attempt counts.
    #[must_use]
    pub fn instance(&self, dims: &Dims<'_>) -> Scope {
        let mut scope = self.clone();
        for dim in Dim::ALL {
            if scope.picks[dim.index()] == Pick::Each {
                scope.picks[dim.index()] = Pick::Only(dims.of(dim).to_owned());
            }
        }
        scope
    }

    /// Whether the other scope is an instance of this one, or the same.
    #[must_use]
    pub fn covers(&self, other: &Scope) -> bool {
        let fits = |dim: Dim| match (self.pick(dim), other.pick(dim)) {
            (Pick::Each, Pick::Each | Pick::Only(_)) => true,
            (own, theirs) => own == theirs,
        };
        self.tags == other.tags && Dim::ALL.into_iter().all(fits)
    }

    fn read(text: &str) -> Option<Scope> {
        let mut scope = Scope::default();
        for part in text.split('&').filter(|p| !p.is_empty()) {
            match part.split_once('=') {
                None => {
                    let dim = Dim::ALL.into_iter().find(|d| d.name() == part)?;
                    scope.picks[dim.index()] = Pick::Each;
                }
                Some((name, value)) => match name.strip_prefix("tag.") {
                    Some(tag) => {
                        scope.tags.insert(plain(tag)?, plain(value)?);
                    }
                    None => {
                        let dim = Dim::ALL.into_iter().find(|d| d.name() == name)?;
                        scope.picks[dim.index()] = Pick::Only(plain(value)?);
                    }
                },
            }
        }
        Some(scope)
    }
}

/// `team=red&model=gpt-*&tag.project=x`; what stands alone (`key`) is told apart by value.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for dim in Dim::ALL {
            match self.pick(dim) {
                Pick::Any => continue,
                Pick::Each => write!(f, "{between}{}", dim.name())?,
                Pick::Only(value) => write!(f, "{between}{}={}", dim.name(), escaped(value))?,
            }
            between = "&";
        }
        for (tag, value) in &self.tags {
            write!(f, "{between}tag.{}={}", escaped(tag), escaped(value))?;
            between = "&";
        }
        Ok(())
    }
}

/// A name as it stands in a counter's: without the signs that part one from the next. Other letters stay as they are, since the
/// books of running installations know the counters by these texts.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '=' | '|' | '%' => {
                // Writing to a string cannot fail.
                let _ = write!(out, "%{:02X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// The name that was escaped so.
fn plain(text: &str) -> Option<String> {
    let name = percent_encoding::percent_decode_str(text).decode_utf8();
    name.ok().map(std::borrow::Cow::into_owned)
}

/// A sum that is kept: of what, whose, over which window. Its text is its identity in the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Which attempts count.
    pub scope: Scope,
    /// What is summed.
    pub measure: Measure,
    /// Over which window.
    pub window: Window,
    /// Where the window's days begin.
    pub zone: Zone,
}

impl Counter {
    /// Dollars of this scope over a window in UTC.
    #[must_use]
    pub fn usd(scope: Scope, window: Window) -> Counter {
        Counter {
            scope,
            measure: Measure::Usd,
            window,
            zone: Zone::utc(),
        }
    }

    /// The counter of this name.
    #[must_use]
    pub fn read(name: &str) -> Option<Counter> {
        let mut parts = name.split('|');
        let scope = Scope::read(parts.next()?)?;
        let measure = parts.next()?;
        let measure = Measure::ALL.into_iter().find(|m| m.name() == measure)?;
        let window = Window::parse(parts.next()?)?;
        let zone = Zone::named(parts.next()?).ok()?;
        Some(Counter {
            scope,
            measure,
            window,
            zone,
        })
    }

    /// The counters that are kept whether or not a cap needs them: dollars of everybody and of each key.
    #[must_use]
    pub fn always() -> Vec<Counter> {
        let scopes = [Scope::all(), Scope::all().with(Dim::Key, Pick::Each)];
        let windows = [Window::Day, Window::Month, Window::Total];
        scopes
            .iter()
            .flat_map(|scope| windows.map(|window| Counter::usd(scope.clone(), window)))
            .collect()
    }

    /// The counter in which such an attempt counts.
    #[must_use]
    pub fn instance(&self, dims: &Dims<'_>) -> Counter {
        Counter {
            scope: self.scope.instance(dims),
            ..self.clone()
        }
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (measure, window) = (self.measure.name(), self.window.name());
        write!(f, "{}|{measure}|{window}|{}", self.scope, self.zone)
    }
}

/// Whether a counter of this name belongs to one of these.
#[must_use]
pub fn covered(name: &str, counters: &[Counter]) -> bool {
    let Some(counter) = Counter::read(name) else {
        return false;
    };
    counters.iter().any(|c| {
        (c.measure, c.window, &c.zone) == (counter.measure, counter.window, &counter.zone)
            && c.scope.covers(&counter.scope)
    })
}

/// What happens to a request for which a cap has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtCap {
    /// It is refused.
    #[default]
    Refuse,
    /// It goes to a local model, if one can take it.
    Local,
}

/// A limit on a counter, or on each of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cap {
    /// What counts.
    pub counter: Counter,
    /// The most, in pico-dollars, tokens or requests.
    pub limit: i128,
    /// What happens without room.
    pub at_cap: AtCap,
    /// From each of these shares of the limit on, in percent and in rising order, the operator is told; nothing where the cap itself
    /// says none.
    pub notify_percent: Vec<u8>,
    /// What the operator calls it; nothing until the caps in force are put together ([`super::tree::in_force`]).
    pub name: String,
    /// Of the end users whose names are like this pattern, each has this room in the place of what all have; `None` is the room of all.
    pub users: Option<String>,
}

/// The share of a cap at which it is told that it fills up, where nobody says another.
pub const SOFT_PERCENT: u8 = 80;
/// More shares of one cap are not told.
pub const NOTIFY_MAX: usize = 10;
/// The longest name of a cap, in letters.
pub const NAME_MAX: usize = 64;

impl Cap {
    /// A plain cap.
    #[must_use]
    pub fn new(counter: Counter, limit: i128) -> Cap {
        Cap {
            counter,
            limit,
            at_cap: AtCap::Refuse,
            notify_percent: Vec::new(),
            name: String::new(),
            users: None,
        }
    }

    /// The shares at which it is told, in percent and in rising order.
    #[must_use]
    pub fn told_at(&self) -> &[u8] {
        match self.notify_percent.is_empty() {
            true => &[SOFT_PERCENT],
            false => &self.notify_percent,
        }
    }

    /// Whether it limits an attempt that counts in its counter: an exception limits its own users alone.
    #[must_use]
    pub fn limits(&self, dims: &Dims<'_>) -> bool {
        let own = |pattern: &String| like(pattern, dims.user_name);
        self.users.as_ref().is_none_or(own)
    }

    /// Whether it holds in the place of another cap on the same counter: the narrower one does, and of equally narrow ones the lower.
    #[must_use]
    pub fn goes_before(&self, other: &Cap) -> bool {
        let by_users = self.narrowness().cmp(&other.narrowness());
        by_users.then(other.limit.cmp(&self.limit)).is_gt()
    }

    /// How narrowly it names users: a name goes before a pattern, a longer pattern before a shorter one, and both before all.
    fn narrowness(&self) -> usize {
        match &self.users {
            None => 0,
            Some(name) if !name.contains('*') => usize::MAX,
            Some(pattern) => pattern.len(),
        }
    }

    /// What one of its counters is called: the cap itself, and where it counts some apart, which of them. `shown` says what a value is
    /// called, or `None` of one that nobody may see. Sessions and users are the callers' own words, and those of one key are called the
    /// same.
    #[must_use]
    pub fn label(&self, of: &Counter, shown: &dyn Fn(Dim, &str) -> Option<String>) -> String {
        let apart = |dim: &Dim| *self.counter.scope.pick(*dim) == Pick::Each;
        let own_words = |dim: &Dim| matches!(dim, Dim::Session | Dim::User);
        let mut dims = Dim::ALL.iter().filter(|d| apart(d) && !own_words(d));
        let Some(first) = dims.next() else {
            return self.name.clone();
        };
        let called = |dim: &Dim| match of.scope.pick(*dim) {
            Pick::Only(value) => shown(*dim, value).unwrap_or_else(|| "other".to_owned()),
            Pick::Any | Pick::Each => dim.name().to_owned(),
        };
        let words: Vec<String> = std::iter::once(first).chain(dims).map(called).collect();
        format!("{}: {}", self.name, words.join(" "))
    }

    /// What it is called where the operator gives it no name: what it is on, then its window. `key` is the name of its key.
    #[must_use]
    pub fn called(&self, key: Option<&str>) -> String {
        let Counter {
            scope,
            measure,
            window,
            ..
        } = &self.counter;
        let mut words: Vec<String> = Vec::new();
        for dim in Dim::ALL {
            match scope.pick(dim) {
                Pick::Any => {}
                Pick::Each => words.push(match &self.users {
                    Some(pattern) if dim == Dim::User => format!("user {pattern}"),
                    _ => format!("each {}", dim.name()),
                }),
                Pick::Only(value) => {
                    let value = key.filter(|_| dim == Dim::Key).unwrap_or(value);
                    words.push(format!("{} {value}", dim.name()));
                }
            }
        }
        words.extend(
            scope
                .tags()
                .map(|(tag, value)| format!("tag {tag}={value}")),
        );
        if words.is_empty() {
            words.push("all".to_owned());
        }
        if *measure != Measure::Usd {
            words.push(measure.name().to_owned());
        }
        words.push(window.name().to_owned());
        words.join(" ")
    }

    /// A dollar cap of one key, in UTC.
    #[must_use]
    pub fn of_key(id: i64, window: Window, limit: PicoUsd) -> Cap {
        Cap::new(Counter::usd(Scope::key(id), window), limit.0)
    }

    /// Reads a cap as it is written on a command line: `5usd/day`, `2000000tokens/month@Europe/Berlin`,
    /// `60requests/minute model=gpt-* tier=reasoning tag.project=x at_cap=local`.
    ///
    /// # Errors
    /// Says which part is wrong.
    pub fn parse(text: &str) -> Result<Cap, String> {
        let mut words = text.split_whitespace();
        let what = words.next().unwrap_or_default();
        let wrong = || {
            format!(
                "\"{text}\" is not a cap like 5usd/day, 100000tokens/hour or 60requests/minute@Europe/Berlin"
            )
        };
        let (amount, rest) = what.split_once('/').ok_or_else(wrong)?;
        let (window, zone) = rest.split_once('@').unwrap_or((rest, "UTC"));
        let window = Window::parse(window).ok_or_else(wrong)?;
        let zone = Zone::named(zone)?;
        let unit_at = amount
            .find(|c: char| c.is_ascii_alphabetic() && c != 'e' && c != 'E')
            .unwrap_or(amount.len());
        let (number, unit) = amount.split_at(unit_at);
        let measure = match unit {
            "" | "usd" => Measure::Usd,
            "tokens" | "token" => Measure::Tokens,
            "requests" | "request" => Measure::Requests,
            _ => return Err(wrong()),
        };
        let limit = match measure {
            Measure::Usd => PicoUsd::from_usd_text(number)?.0,
            _ => i128::from(number.parse::<u32>().map_err(|_| wrong())?),
        };
        if limit < 0 || i64::try_from(limit).is_err() {
            return Err(format!(
                "\"{text}\": a cap is at least 0 and at most 9.2 million dollars"
            ));
        }
        let counter = Counter {
            scope: Scope::all(),
            measure,
            window,
            zone,
        };
        words.try_fold(Cap::new(counter, limit), |cap, word| cap.narrowed(word))
    }

    fn narrowed(mut self, word: &str) -> Result<Cap, String> {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let dim = Dim::ALL.into_iter().find(|d| d.name() == name);
        match (name, dim) {
            ("at_cap", _) if value == "local" => self.at_cap = AtCap::Local,
            ("at_cap", _) if value == "refuse" => self.at_cap = AtCap::Refuse,
            ("soft_percent" | "notify_percent", _) => {
                let numbers: Result<Vec<u64>, _> = value.split(',').map(str::parse).collect();
                let shares = numbers.ok().and_then(|numbers| shares(&numbers));
                self.notify_percent = shares.ok_or_else(|| format!("{name} {SHARES}"))?;
            }
            (_, Some(Dim::Key | Dim::Team | Dim::Organisation)) => {
                return Err(format!(
                    "\"{word}\": the cap of a key is that key's already"
                ));
            }
            (_, Some(Dim::Session)) => {
                self.counter.scope = self.counter.scope.with(Dim::Session, Pick::Each)
            }
            (_, Some(Dim::User)) => {
                self.counter.scope = self.counter.scope.with(Dim::User, Pick::Each);
                self.users = Some(value.to_owned()).filter(|value| !value.is_empty());
            }
            (_, Some(dim)) if !value.is_empty() => {
                self.counter.scope = self.counter.scope.with(dim, Pick::Only(value.to_owned()));
            }
            _ => match name.strip_prefix("tag.") {
                Some(tag) if !value.is_empty() => {
                    self.counter.scope = self.counter.scope.tagged(tag, value)
                }
                _ => {
                    return Err(format!(
                        "\"{word}\" says nothing about a cap; use model=, provider=, tier=, session, user, user=, tag.NAME=, at_cap=, notify_percent="
                    ));
                }
            },
        }
        Ok(self)
    }

    /// The same cap as one of this key's own.
    #[must_use]
    pub fn for_key(mut self, id: i64) -> Cap {
        let only = Pick::Only(id.to_string());
        self.counter.scope = self.counter.scope.with(Dim::Key, only);
        self
    }

    /// As [`Cap::parse`] reads it. The key that it belongs to is not part of it.
    #[must_use]
    pub fn text(&self) -> String {
        let c = &self.counter;
        let mut text = format!(
            "{}{}/{}",
            c.measure.plain(self.limit),
            c.measure.name(),
            c.window.name()
        );
        if c.zone != Zone::utc() {
            let _ = write!(text, "@{}", c.zone);
        }
        for dim in [
            Dim::Session,
            Dim::User,
            Dim::Provider,
            Dim::Model,
            Dim::Tier,
        ] {
            let _ = match c.scope.pick(dim) {
                Pick::Any => Ok(()),
                Pick::Each if dim == Dim::User && self.users.is_some() => {
                    write!(text, " user={}", self.users.as_deref().unwrap_or_default())
                }
                Pick::Each => write!(text, " {}", dim.name()),
                Pick::Only(value) => write!(text, " {}={value}", dim.name()),
            };
        }
        for (tag, value) in c.scope.tags() {
            let _ = write!(text, " tag.{tag}={value}");
        }
        if self.at_cap == AtCap::Local {
            text.push_str(" at_cap=local");
        }
        match self.notify_percent[..] {
            [] => {}
            // As it was written before a cap could be told more than once.
            [one] => {
                let _ = write!(text, " soft_percent={one}");
            }
            _ => {
                let shares: Vec<String> = self.notify_percent.iter().map(u8::to_string).collect();
                let _ = write!(text, " notify_percent={}", shares.join(","));
            }
        }
        text
    }
}

/// What shares must be, for complaints.
pub const SHARES: &str = "is 1 to 100, or up to ten such numbers";

/// These numbers as shares in percent, in rising order and each once, if they are such.
#[must_use]
pub fn shares(numbers: &[u64]) -> Option<Vec<u8>> {
    let share = |n: &u64| u8::try_from(*n).ok().filter(|p| (1..=100).contains(p));
    let mut shares: Vec<u8> = numbers.iter().map(share).collect::<Option<_>>()?;
    shares.sort_unstable();
    shares.dedup();
    (1..=NOTIFY_MAX).contains(&shares.len()).then_some(shares)
}

#[cfg(test)]
mod tests;
