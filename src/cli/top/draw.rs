//! Draws what is looked at. Reads nothing but the view, so that a test can draw it too; only lines that fit are made at all.

use super::told::{CapLine, Decision, Part, Sums, Who};
use super::view::{Reach, Tab, View};
use super::words::{bar, clock, count, moment, named, percent, plain, span, usd};
use jiff::ZonedDateTime;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, Wrap};

/// How much may be said with colour; nothing is said with colour alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ink {
    pub(super) colour: bool,
}

impl Ink {
    fn of(self, colour: Color) -> Style {
        match self.colour {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    fn gain(self, amount: f64) -> Style {
        self.of(if amount < 0.0 {
            Color::Red
        } else {
            Color::Green
        })
    }

    fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn bad(self) -> Style {
        self.of(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn warn(self) -> Style {
        self.of(Color::Yellow)
    }
}

/// What a drawing is made from.
pub(super) struct Canvas<'a> {
    pub(super) view: &'a View,
    pub(super) now: &'a ZonedDateTime,
    pub(super) ink: Ink,
}

/// The lines above the pages, where what should be known first fits on one.
const HEAD: u16 = 6;
/// It has so many at most.
const NOTICE_MAX: u16 = 3;

impl Canvas<'_> {
    /// The whole terminal.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let notice = Paragraph::new(self.notice()).wrap(Wrap { trim: false });
        let (wide, width) = (self.notice().width(), usize::from(area.width));
        let tall = match wide <= width {
            true => 1,
            // Lines end between words.
            false => wide.div_ceil(width.saturating_sub(12).max(1)),
        };
        let tall = u16::try_from(tall).map_or(NOTICE_MAX, |tall| tall.min(NOTICE_MAX));
        let lines = [
            Constraint::Length(HEAD - 1 + tall),
            Constraint::Min(0),
            Constraint::Length(1),
        ];
        let [head, body, foot] = Layout::vertical(lines).areas(area);
        self.head(frame, head, notice, tall);
        match self.view.tab {
            // A zero or an empty list would be a statement.
            _ if self.view.as_of.is_none() => {}
            Tab::All => self.all(frame, body),
            Tab::Who => self.who(frame, body, true),
            Tab::Caps => self.caps(frame, body, true),
            Tab::Decisions => self.decisions(frame, body, true),
            Tab::Health => self.health(frame, body),
        }
        self.foot(frame, foot);
        if self.view.help {
            self.help(frame);
        }
    }

    fn head(&self, frame: &mut Frame<'_>, area: Rect, notice: Paragraph<'_>, tall: u16) {
        let [first, second, tiles, tabs] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(tall),
            Constraint::Length(3),
            Constraint::Length(1),
        ])
        .areas(area);
        frame.render_widget(self.state(), first);
        let as_of = Line::styled(self.as_of(), self.ink.dim()).alignment(Alignment::Right);
        if first.width > 70 {
            frame.render_widget(as_of, first);
        }
        frame.render_widget(notice, second);
        self.tiles(frame, tiles);
        frame.render_widget(self.tabs(), tabs);
    }

    fn state(&self) -> Line<'static> {
        let health = &self.view.told.health;
        let (word, style) = match &self.view.reach {
            Reach::Asking => ("asking …".to_owned(), self.ink.dim()),
            Reach::Not(unheard) => (unheard.word.to_owned(), self.ink.bad()),
            Reach::Well if !health.admits => ("refuses requests".to_owned(), self.ink.bad()),
            Reach::Well if !health.configuration.complaints.is_empty() => {
                ("ready, old configuration".to_owned(), self.ink.warn())
            }
            Reach::Well => ("ready".to_owned(), self.ink.gain(1.0)),
        };
        Line::from(vec![
            Span::styled(" flyball ", self.ink.bold()),
            Span::styled(format!("{}  ", plain(&health.version)), self.ink.dim()),
            Span::styled(format!("● {word}"), style),
            Span::styled(
                if self.view.held { "  holds still" } else { "" },
                self.ink.warn(),
            ),
        ])
    }

    fn as_of(&self) -> String {
        match &self.view.as_of {
            None => String::new(),
            Some(at) => format!("as of {at} "),
        }
    }

    /// The one thing that should be known first.
    fn notice(&self) -> Line<'static> {
        let told = &self.view.told;
        let (text, style) = if let Reach::Not(unheard) = &self.view.reach {
            (
                format!("{}; asked again every few seconds", plain(&unheard.why)),
                self.ink.bad(),
            )
        } else if self.view.reach == Reach::Asking {
            (String::new(), self.ink.dim())
        } else if !told.health.admits {
            ("the ledger cannot write, so no request is admitted: see whether its disk is full or its database away".to_owned(), self.ink.bad())
        } else if let Some(complaint) = told.health.configuration.complaints.first() {
            (
                format!("the configuration was refused: {}", plain(complaint)),
                self.ink.warn(),
            )
        } else if let Some(why) = told.missing.first() {
            (plain(why), self.ink.warn())
        } else {
            match told.health.simulated.as_str() {
                "true" => (
                    "simulated: no money here is real".to_owned(),
                    self.ink.warn(),
                ),
                "mixed" => (
                    "some models are simulated: their part of the money is not real".to_owned(),
                    self.ink.warn(),
                ),
                _ => (String::new(), self.ink.dim()),
            }
        };
        Line::styled(format!(" {text}"), style)
    }

    fn tiles(&self, frame: &mut Frame<'_>, area: Rect) {
        let told = &self.view.told;
        let four: [Rect; 4] = Layout::horizontal([Constraint::Ratio(1, 4); 4]).areas(area);
        let sums = [
            ("yesterday", told.yesterday),
            ("today", told.today),
            ("this month", told.month),
        ];
        for ((name, sums), area) in sums.into_iter().zip(four) {
            frame.render_widget(self.tile(name, sums), area);
        }
        let (expected, range) = told.forecast.map_or(("–".to_owned(), String::new()), |f| {
            let range = f
                .range
                .map(|(low, high)| format!(" {} to {}", usd(low), usd(high)));
            (usd(f.expected), range.unwrap_or_default())
        });
        let lines = vec![
            Line::styled(" month end", self.ink.dim()),
            Line::styled(format!(" {expected}"), self.ink.bold()),
            Line::styled(range, self.ink.dim()),
        ];
        frame.render_widget(Paragraph::new(lines), four[3]);
    }

    fn tile(&self, name: &str, sums: Sums) -> Paragraph<'static> {
        let share = if sums.baseline > 0.0 {
            format!(", {}", percent(sums.saved / sums.baseline))
        } else {
            String::new()
        };
        let saved = match sums.saved < 0.0 {
            true => format!(" {} lost", usd(-sums.saved)),
            false => format!(" {} saved{share}", usd(sums.saved)),
        };
        if self.view.told.unknown.contains(&Part::Days) {
            return Paragraph::new(vec![
                Line::styled(format!(" {name}"), self.ink.dim()),
                Line::from(" –"),
            ]);
        }
        Paragraph::new(vec![
            Line::styled(format!(" {name}"), self.ink.dim()),
            Line::styled(format!(" {}", usd(sums.cost)), self.ink.bold()),
            Line::styled(saved, self.ink.gain(sums.saved)),
        ])
    }

    fn tabs(&self) -> Line<'static> {
        let tab = |(n, tab): (usize, &Tab)| {
            let style = match *tab == self.view.tab {
                true => Style::new().add_modifier(Modifier::REVERSED),
                false => self.ink.dim(),
            };
            [
                Span::styled(format!(" {} {} ", n + 1, tab.name()), style),
                Span::raw(" "),
            ]
        };
        let tabs = Tab::EVERY.iter().enumerate().flat_map(tab);
        Line::from(
            std::iter::once(Span::raw(" "))
                .chain(tabs)
                .collect::<Vec<_>>(),
        )
    }

    fn foot(&self, frame: &mut Frame<'_>, area: Rect) {
        let view = self.view;
        let line = match (view.typing, view.filter.is_empty()) {
            (true, _) => Line::from(format!(
                " /{}▏  Enter keeps it, Esc lets it go",
                plain(&view.filter)
            )),
            (false, false) => Line::from(format!(
                " only what has \"{}\"; Esc shows all again",
                plain(&view.filter)
            )),
            (false, true) => Line::styled(
                " q quit  ? keys  Tab next  ↑↓ move  Enter open  / find  b by  p time  space hold",
                self.ink.dim(),
            ),
        };
        frame.render_widget(line, area);
    }

    /// Everything at once, as far as it fits.
    fn all(&self, frame: &mut Frame<'_>, area: Rect) {
        let view = self.view;
        let third = (area.height / 3).max(4);
        let wanted =
            u16::try_from(view.told.who.len().max(view.told.why.len()) + 3).unwrap_or(third);
        let caps = u16::try_from(view.told.caps.len() + 3)
            .unwrap_or(third)
            .max(4);
        let rows = [
            Constraint::Length(wanted.clamp(4, third)),
            Constraint::Length(caps.min(third)),
            Constraint::Min(0),
        ];
        let [upper, middle, lower] = Layout::vertical(rows).areas(area);
        let [left, right] =
            Layout::horizontal([Constraint::Percentage(60), Constraint::Percentage(40)])
                .areas(upper);
        self.who(frame, left, false);
        self.why(frame, right);
        self.caps(frame, middle, false);
        self.decisions(frame, lower, false);
    }

    /// What stands in place of lines where there are none, or none are known.
    fn none(&self, part: Part, nothing: &'static str) -> &'static str {
        match self.view.told.unknown.contains(&part) {
            true => "not known yet",
            false => nothing,
        }
    }

    fn title(&self, text: String) -> Block<'static> {
        Block::new().title(Line::styled(format!(" {text}"), self.ink.bold()))
    }

    /// A table whose lines are made from those that fit; the selected one stands out where lines can be selected.
    fn table<'t, T: 't>(&self, page: Page<'t, T>, frame: &mut Frame<'_>, area: Rect) {
        let fit = usize::from(area.height.saturating_sub(2));
        let first = if page.selects {
            self.view.first_of(fit)
        } else {
            0
        };
        let lines = page.all.skip(first).take(fit).enumerate();
        let rows = lines.map(|(n, one)| {
            let row = Row::new((page.line)(one));
            match page.selects && first + n == self.view.selected {
                true => row.style(Style::new().add_modifier(Modifier::REVERSED)),
                false => row,
            }
        });
        let head = page
            .columns
            .iter()
            .map(|(name, right, _)| aligned((*name).to_owned(), *right));
        let head = Row::new(head.map(|line| Cell::from(line.style(self.ink.dim()))));
        let rows: Vec<Row<'_>> = rows.collect();
        if rows.is_empty() {
            let nothing =
                Paragraph::new(Line::styled(format!(" {}", page.nothing), self.ink.dim()));
            frame.render_widget(nothing.block(self.title(page.title)), area);
            return;
        }
        let widths = page.columns.iter().map(|(_, _, width)| *width);
        let table = Table::new(rows, widths).header(head).column_spacing(2);
        frame.render_widget(table.block(self.title(page.title)), area);
    }

    fn who(&self, frame: &mut Frame<'_>, area: Rect, selects: bool) {
        let view = self.view;
        let total = view.told.total.cost;
        let line = |who: &Who| {
            let sums = who.sums;
            let each = match sums.requests {
                0 => "–".to_owned(),
                n => usd(sums.cost / f64::from(u32::try_from(n).unwrap_or(u32::MAX))),
            };
            let share = if total > 0.0 { sums.cost / total } else { 0.0 };
            vec![
                Cell::from(format!(" {}", named(&who.name))),
                right(count(sums.requests)),
                right(each),
                right(usd(sums.cost)),
                Cell::from(aligned(usd(sums.saved), true).style(self.ink.gain(sums.saved))),
                Cell::from(bar(share, 10)).style(self.ink.of(Color::Blue)),
            ]
        };
        let page = Page {
            title: format!("who, by {}, {}", plain(&view.by), view.period.name()),
            nothing: self.none(Part::Report, "no request in this time"),
            columns: &[
                (" name", false, Constraint::Min(12)),
                ("requests", true, Constraint::Length(9)),
                ("a request", true, Constraint::Length(10)),
                ("spent", true, Constraint::Length(11)),
                ("saved", true, Constraint::Length(11)),
                ("", false, Constraint::Length(10)),
            ],
            selects,
            all: Box::new(view.who()),
            line: &line,
        };
        self.table(page, frame, area);
    }

    fn why(&self, frame: &mut Frame<'_>, area: Rect) {
        let causes = &self.view.told.why;
        let most = causes.iter().map(|c| c.amount.abs()).fold(0.0, f64::max);
        let row = |cause: &super::told::Cause| {
            Row::new(vec![
                Cell::from(format!(" {}", cause.name)),
                Cell::from(aligned(usd(cause.amount), true).style(self.ink.gain(cause.amount))),
                Cell::from(bar(cause.amount.abs() / most, 8)).style(self.ink.gain(cause.amount)),
            ])
        };
        let widths = [
            Constraint::Min(14),
            Constraint::Length(10),
            Constraint::Length(8),
        ];
        let fit = usize::from(area.height.saturating_sub(2));
        let head = Row::new(vec![Cell::from(Line::styled(" cause", self.ink.dim()))]);
        let table = Table::new(causes.iter().take(fit).map(row), widths)
            .header(head)
            .column_spacing(2);
        frame.render_widget(
            table.block(self.title(format!("why it was saved, {}", self.view.period.name()))),
            area,
        );
    }

    fn caps(&self, frame: &mut Frame<'_>, area: Rect, selects: bool) {
        let line = |cap: &CapLine| {
            let amount = |n: f64| {
                if cap.dollars {
                    usd(n)
                } else {
                    format!("{n:.0}")
                }
            };
            let style = match (cap.full(), cap.out_at) {
                (true, _) => self.ink.bad(),
                (false, Some(_)) => self.ink.warn(),
                (false, None) => self.ink.of(Color::Blue),
            };
            let out = match (cap.full(), cap.out_at) {
                (true, _) => "used up".to_owned(),
                (false, Some(at)) => moment(at, self.now),
                (false, None) => "lasts".to_owned(),
            };
            let resets = cap
                .resets_at
                .map_or("never".to_owned(), |at| moment(at, self.now));
            let measure = if cap.dollars {
                ""
            } else {
                cap.measure.as_str()
            };
            vec![
                Cell::from(format!(" {}", named(&cap.name))),
                Cell::from(bar(cap.used(), 12)).style(style),
                right(percent(cap.used())),
                right(amount(cap.left())),
                right(format!("{} {measure}", amount(cap.limit)).trim().to_owned()),
                Cell::from(Line::styled(out, style)),
                Cell::from(Line::styled(resets, self.ink.dim())),
            ]
        };
        let page = Page {
            title: "caps".to_owned(),
            nothing: self.none(Part::Caps, "no caps; [[cap]] in flyball.toml sets one"),
            columns: &[
                (" cap", false, Constraint::Min(14)),
                ("", false, Constraint::Length(12)),
                ("used", true, Constraint::Length(6)),
                ("left", true, Constraint::Length(10)),
                ("limit", true, Constraint::Length(12)),
                ("runs out", false, Constraint::Length(16)),
                ("resets", false, Constraint::Length(16)),
            ],
            selects,
            all: Box::new(self.view.caps()),
            line: &line,
        };
        self.table(page, frame, area);
    }

    fn decisions(&self, frame: &mut Frame<'_>, area: Rect, selects: bool) {
        let mut area = area;
        if let (true, true, Some(decision)) = (
            selects,
            self.view.open,
            self.view.decisions().nth(self.view.selected),
        ) {
            let [list, detail] =
                Layout::vertical([Constraint::Percentage(40), Constraint::Min(0)]).areas(area);
            area = list;
            self.detail(frame, detail, decision);
        }
        let page = Page {
            title: "decisions".to_owned(),
            nothing: self.none(
                Part::Decisions,
                "no request was routed since flyball started",
            ),
            columns: &[
                (" time", false, Constraint::Length(9)),
                ("diff.", true, Constraint::Length(5)),
                ("task", false, Constraint::Length(10)),
                ("arm", false, Constraint::Fill(3)),
                ("end", false, Constraint::Length(12)),
                ("rule", false, Constraint::Fill(1)),
                ("who", false, Constraint::Fill(1)),
                ("cost", true, Constraint::Length(9)),
                ("saved", true, Constraint::Length(10)),
            ],
            selects,
            all: Box::new(self.view.decisions()),
            line: &|d| self.decision(d),
        };
        self.table(page, frame, area);
    }

    fn decision(&self, d: &Decision) -> Vec<Cell<'static>> {
        let outcome = d.outcome.as_ref().filter(|o| !o.attempts.is_empty());
        let number = |text: &str| text.parse::<f64>().unwrap_or(0.0);
        let saved = outcome.map(|o| number(&o.saved_usd));
        vec![
            Cell::from(Line::styled(
                format!(" {}", clock(d.at_ms, self.now)),
                self.ink.dim(),
            )),
            right(format!("{:.2}", d.difficulty)),
            Cell::from(plain(&d.task)),
            Cell::from(plain(&d.arms())),
            Cell::from(Line::styled(plain(&d.end()), self.ink.warn())),
            Cell::from(plain(&d.rule)),
            Cell::from(named(&d.who())),
            right(outcome.map_or("–".to_owned(), |o| usd(number(&o.cost_usd)))),
            Cell::from(
                aligned(saved.map_or("–".to_owned(), usd), true)
                    .style(self.ink.gain(saved.unwrap_or(0.0))),
            ),
        ]
    }

    /// Everything of one request: what was weighed, and what was done.
    fn detail(&self, frame: &mut Frame<'_>, area: Rect, d: &Decision) {
        let mut lines = vec![Line::from(format!(
            " {}  rule {}  task {}  difficulty {:.3}{}{}  baseline {}",
            plain(&d.request),
            plain(&d.rule),
            plain(&d.task),
            d.difficulty,
            d.objective
                .as_ref()
                .map_or(String::new(), |o| format!("  objective {}", plain(o))),
            if d.stuck { "  stuck" } else { "" },
            plain(&d.baseline),
        ))];
        for (n, a) in d.outcome.iter().flat_map(|o| &o.attempts).enumerate() {
            let cost = a
                .cost_pico_usd
                .map_or("–".to_owned(), |pico| usd(pico / 1e12));
            let t = a.tokens;
            lines.push(Line::from(format!(
                " attempt {}  {}  {}  {cost}  {} in ({} cached), {} out ({} hidden)  at {}",
                n + 1,
                plain(&a.arm()),
                plain(&a.outcome.replace('_', " ")),
                count(t.input + t.cached),
                count(t.cached),
                count(t.output),
                count(t.reasoning),
                plain(&a.provider),
            )));
        }
        for arm in &d.considered {
            let text = format!(
                "   {:<40} {:>6}  {:>10}  {}",
                plain(&arm.arm),
                arm.chance.map_or("–".to_owned(), percent),
                arm.expected_usd
                    .as_ref()
                    .map_or("–".to_owned(), |e| usd(e.parse().unwrap_or(0.0))),
                plain(&arm.verdict)
            );
            let chosen = d.attempts.first() == Some(&arm.arm);
            lines.push(Line::styled(
                text,
                if chosen {
                    self.ink.bold()
                } else {
                    self.ink.dim()
                },
            ));
        }
        if d.left_off > 0 {
            lines.push(Line::styled(
                format!("   and {} more", d.left_off),
                self.ink.dim(),
            ));
        }
        let block = self.title("arms that were weighed, and what was done".to_owned());
        frame.render_widget(
            Paragraph::new(lines)
                .wrap(Wrap { trim: false })
                .block(block),
            area,
        );
    }

    fn health(&self, frame: &mut Frame<'_>, area: Rect) {
        let health = &self.view.told.health;
        let lag = health
            .ledger
            .lag_seconds
            .map_or(String::new(), |s| format!(", {s:.1} s behind"));
        let date = health
            .prices
            .date
            .as_ref()
            .map_or(String::new(), |date| format!(" of {}", plain(date)));
        let mut lines: Vec<Line<'_>> = [
            (
                "up since",
                format!(
                    "{}, {}",
                    moment(health.started_at, self.now),
                    span(health.now - health.started_at)
                ),
            ),
            (
                "ledger",
                format!(
                    "{}{}{lag}",
                    if health.ledger.writes {
                        "writes"
                    } else {
                        "cannot write"
                    },
                    if health.ledger.shared {
                        ", shared by replicas"
                    } else {
                        ""
                    }
                ),
            ),
            (
                "prices",
                format!("{}{date}", plain(&health.prices.catalogue)),
            ),
            (
                "configuration",
                format!("read {}", moment(health.configuration.read_at, self.now)),
            ),
            ("time zone", plain(&health.time_zone)),
        ]
        .into_iter()
        .map(|(name, value)| {
            Line::from(vec![
                Span::styled(format!(" {name:<14}"), self.ink.dim()),
                Span::raw(value),
            ])
        })
        .collect();
        for complaint in &health.configuration.complaints {
            lines.push(Line::styled(
                format!(" {}", plain(complaint)),
                self.ink.warn(),
            ));
        }
        for why in &self.view.told.missing {
            lines.push(Line::styled(format!(" {}", plain(why)), self.ink.warn()));
        }
        let tall = u16::try_from(lines.len() + 2).unwrap_or(area.height);
        let [facts, providers] =
            Layout::vertical([Constraint::Length(tall), Constraint::Min(0)]).areas(area);
        frame.render_widget(
            Paragraph::new(lines).block(self.title("health".to_owned())),
            facts,
        );
        self.providers(frame, providers);
    }

    fn providers(&self, frame: &mut Frame<'_>, area: Rect) {
        let line = |p: &super::told::Provider| {
            let mut errors: Vec<_> = p.errors.iter().collect();
            errors.sort_by(|a, b| b.1.cmp(a.1));
            let errors = errors
                .into_iter()
                .map(|(kind, n)| format!("{} {}", plain(kind).replace('_', " "), count(*n)));
            let named_part = |down: &serde_json::Value, part: &str| {
                down[part]
                    .as_str()
                    .filter(|name| !name.is_empty())
                    .map(plain)
            };
            // A channel by its name; a model, or all of a provider, in no more words.
            let channels = p.down.iter().filter_map(|down| {
                let parts = ["credential", "deployment"].map(|part| named_part(down, part));
                let parts: Vec<String> = parts.into_iter().flatten().collect();
                (!parts.is_empty()).then(|| parts.join("@"))
            });
            let channels: Vec<String> = channels.take(3).collect();
            let down = (!p.down.is_empty()).then(|| match channels.is_empty() {
                true => "left alone".to_owned(),
                false => format!("left alone: {}", channels.join(" ")),
            });
            let errors: Vec<String> = down.into_iter().chain(errors).collect();
            let whose = match (p.simulated, p.local) {
                (true, _) => "simulated",
                (false, true) => "own machine",
                (false, false) => "",
            };
            vec![
                Cell::from(format!(" {}", named(&p.provider))),
                Cell::from(whose),
                right(count(p.models)),
                Cell::from(if errors.is_empty() {
                    "nothing".to_owned()
                } else {
                    errors.join(", ")
                }),
            ]
        };
        let page = Page {
            title: "providers".to_owned(),
            nothing: "no providers",
            columns: &[
                (" provider", false, Constraint::Length(24)),
                ("", false, Constraint::Length(11)),
                ("models", true, Constraint::Length(6)),
                ("failed since the start", false, Constraint::Min(10)),
            ],
            selects: true,
            all: Box::new(self.view.told.health.providers.iter()),
            line: &line,
        };
        self.table(page, frame, area);
    }

    fn help(&self, frame: &mut Frame<'_>) {
        let lines = [
            "q, Ctrl-C     quit",
            "Tab → ←       the next page, the one before; 1 to 5 one of them",
            "↑ ↓ k j       select; PgUp PgDn Home End too",
            "Enter         open a decision: arms that were weighed, attempts",
            "/             show only what has these letters; Esc shows all",
            "b             by team, key, model, task, rule, provider, tags",
            "p             today, yesterday, 7 days, this month",
            "space         hold still, go on",
            "?             this; any key closes it",
        ];
        let area = frame.area();
        let (width, height) = (area.width.min(70), area.height.min(11));
        let place = Rect {
            x: (area.width - width) / 2,
            y: (area.height - height) / 2,
            width,
            height,
        };
        frame.render_widget(Clear, place);
        let text: Vec<Line<'_>> = lines
            .iter()
            .map(|line| Line::from(format!(" {line}")))
            .collect();
        frame.render_widget(
            Paragraph::new(text).block(Block::bordered().title(" keys ")),
            place,
        );
    }
}

/// A page of lines.
struct Page<'t, T> {
    title: String,
    nothing: &'static str,
    /// Name, whether it stands to the right, width.
    columns: &'t [(&'static str, bool, Constraint)],
    selects: bool,
    all: Box<dyn Iterator<Item = &'t T> + 't>,
    line: &'t dyn Fn(&T) -> Vec<Cell<'static>>,
}

fn aligned(text: String, right: bool) -> Line<'static> {
    let alignment = if right {
        Alignment::Right
    } else {
        Alignment::Left
    };
    Line::from(text).alignment(alignment)
}

fn right(text: String) -> Cell<'static> {
    Cell::from(aligned(text, true))
}

#[cfg(test)]
mod tests;
