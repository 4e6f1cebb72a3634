//! What somebody at a terminal looks at, and what their keys change of it. Draws nothing and asks nobody.

use super::told::{CapLine, Decision, TopFigures, Unheard, Who};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The pages, in the order of their tabs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tab {
    #[default]
    All,
    Who,
    Caps,
    Decisions,
    Health,
}

impl Tab {
    pub(super) const EVERY: [Tab; 5] = [Tab::All, Tab::Who, Tab::Caps, Tab::Decisions, Tab::Health];

    pub(super) fn name(self) -> &'static str {
        match self {
            Tab::All => "all",
            Tab::Who => "who",
            Tab::Caps => "caps",
            Tab::Decisions => "decisions",
            Tab::Health => "health",
        }
    }

    fn step(self, forwards: bool) -> Tab {
        let at = Tab::EVERY.iter().position(|t| *t == self).unwrap_or(0);
        let by = if forwards { 1 } else { Tab::EVERY.len() - 1 };
        Tab::EVERY[(at + by) % Tab::EVERY.len()]
    }
}

/// Over which time who is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Period {
    Today,
    Yesterday,
    Week,
    #[default]
    Month,
}

impl Period {
    const EVERY: [Period; 4] = [
        Period::Today,
        Period::Yesterday,
        Period::Week,
        Period::Month,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Period::Today => "today",
            Period::Yesterday => "yesterday",
            Period::Week => "7 days",
            Period::Month => "this month",
        }
    }
}

/// By what who is told, before the tags.
const BY: [&str; 6] = ["team", "key", "model", "task", "rule", "provider"];

/// What is asked of the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) by: String,
    pub(super) period: Period,
}

/// Whether the flyball answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nobody knows yet.
    #[default]
    Asking,
    /// It answers.
    Well,
    /// It does not, and why.
    Not(Unheard),
}

/// What a key asks of whoever holds the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// Draw again.
    Nothing,
    /// End.
    Quit,
    /// What was told is by another split or time.
    Anew,
}

/// All that is looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) tab: Tab,
    pub(super) by: String,
    pub(super) period: Period,
    pub(super) selected: usize,
    /// What belongs to the selected line is shown.
    pub(super) open: bool,
    pub(super) filter: String,
    pub(super) typing: bool,
    pub(super) help: bool,
    /// What comes new waits.
    pub(super) held: bool,
    pub(super) reach: Reach,
    pub(super) told: TopFigures,
    /// When it was told; nothing where nothing was told yet.
    pub(super) as_of: Option<String>,
    /// Lines that a page has; the drawing says it.
    pub(super) page: usize,
}

/// Letters that a filter may have.
const FILTER_MAX: usize = 100;

impl View {
    pub(super) fn new() -> View {
        View {
            by: BY[0].to_owned(),
            page: 10,
            told: TopFigures::nothing(),
            ..View::default()
        }
    }

    /// What is to be asked for.
    pub(super) fn wish(&self) -> Wish {
        Wish {
            by: self.by.clone(),
            period: self.period,
        }
    }

    /// Takes what was told, unless it is to hold still.
    pub(super) fn take(&mut self, told: TopFigures, as_of: String) {
        self.reach = Reach::Well;
        if self.held {
            return;
        }
        // Whoever looks at one request goes on looking at it, wherever newer ones have moved it.
        let looked_at = self
            .decisions()
            .nth(self.selected)
            .map(|d| d.request.clone());
        // The time is that of the figures, of which some may be older now.
        if told.missing.is_empty() || self.as_of.is_none() {
            self.as_of = Some(as_of);
        }
        self.told = told.or_before(std::mem::take(&mut self.told));
        let place = looked_at.filter(|_| self.open && self.tab == Tab::Decisions);
        if let Some(place) = place.and_then(|id| self.decisions().position(|d| d.request == id)) {
            self.selected = place;
        }
        self.selected = self.selected.min(self.lines().saturating_sub(1));
    }

    fn fits(&self, text: &str) -> bool {
        self.filter.is_empty() || text.to_lowercase().contains(&self.filter.to_lowercase())
    }

    pub(super) fn who(&self) -> impl Iterator<Item = &Who> {
        self.told.who.iter().filter(|who| self.fits(&who.name))
    }

    pub(super) fn caps(&self) -> impl Iterator<Item = &CapLine> {
        self.told.caps.iter().filter(|cap| self.fits(&cap.name))
    }

    pub(super) fn decisions(&self) -> impl Iterator<Item = &Decision> {
        let says = |d: &Decision| {
            let said = [&d.request, &d.rule, &d.task, &d.arms(), &d.who(), &d.end()];
            said.into_iter().any(|text| self.fits(text))
        };
        self.told
            .decisions
            .iter()
            .filter(move |d| self.filter.is_empty() || says(d))
    }

    /// Lines that can be selected here.
    fn lines(&self) -> usize {
        match self.tab {
            Tab::All => 0,
            Tab::Who => self.who().count(),
            Tab::Caps => self.caps().count(),
            Tab::Decisions => self.decisions().count(),
            Tab::Health => self.told.health.providers.len(),
        }
    }

    /// The first line that is drawn where so many fit, so that the selected one is among them.
    pub(super) fn first_of(&self, fit: usize) -> usize {
        (self.selected + 1).saturating_sub(fit.max(1))
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: KeyEvent) -> Asks {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Asks::Quit;
        }
        if self.typing {
            self.write(key.code);
            return Asks::Nothing;
        }
        if self.help {
            self.help = false;
            return match key.code {
                KeyCode::Char('q') => Asks::Quit,
                _ => Asks::Nothing,
            };
        }
        match key.code {
            KeyCode::Char('q') => return Asks::Quit,
            KeyCode::Char('b') => return self.next_by(),
            KeyCode::Char('p') => return self.next_period(),
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char(' ') => self.held = !self.held,
            KeyCode::Esc => self.back(),
            KeyCode::Enter => self.open = self.tab == Tab::Decisions && !self.open,
            KeyCode::Tab | KeyCode::Right => self.turn_to(self.tab.step(true)),
            KeyCode::BackTab | KeyCode::Left => self.turn_to(self.tab.step(false)),
            KeyCode::Char(digit @ '1'..='5') => {
                let place = digit.to_digit(10).and_then(|n| usize::try_from(n).ok());
                let tab = place.and_then(|n| Tab::EVERY.get(n - 1));
                self.turn_to(tab.copied().unwrap_or_default());
            }
            other => self.go(other),
        }
        Asks::Nothing
    }

    fn go(&mut self, key: KeyCode) {
        let last = self.lines().saturating_sub(1);
        self.selected = match key {
            KeyCode::Up | KeyCode::Char('k') => self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.selected + 1,
            KeyCode::PageUp => self.selected.saturating_sub(self.page),
            KeyCode::PageDown => self.selected + self.page,
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => last,
            _ => self.selected,
        }
        .min(last);
    }

    fn turn_to(&mut self, tab: Tab) {
        self.tab = tab;
        self.selected = 0;
        self.open = false;
    }

    fn write(&mut self, key: KeyCode) {
        match key {
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Enter => self.typing = false,
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) if self.filter.chars().count() < FILTER_MAX => self.filter.push(c),
            _ => {}
        }
        self.selected = 0;
    }

    fn back(&mut self) {
        if self.open {
            self.open = false;
        } else {
            self.filter.clear();
        }
    }

    fn next_by(&mut self) -> Asks {
        let tags = self.told.health.tags.iter().map(|tag| format!("tag:{tag}"));
        let all: Vec<String> = BY.iter().map(|by| (*by).to_owned()).chain(tags).collect();
        let at = all.iter().position(|by| *by == self.by).unwrap_or(0);
        self.by.clone_from(&all[(at + 1) % all.len()]);
        self.selected = 0;
        self.told.forget_report();
        Asks::Anew
    }

    fn next_period(&mut self) -> Asks {
        let at = Period::EVERY
            .iter()
            .position(|p| *p == self.period)
            .unwrap_or(0);
        self.period = Period::EVERY[(at + 1) % Period::EVERY.len()];
        self.told.forget_report();
        Asks::Anew
    }
}
