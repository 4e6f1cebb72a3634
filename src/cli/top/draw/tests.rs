use super::super::told::{Days, Heard, TopFigures, Unheard};
use super::*;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent};
use serde_json::{Value, json};

/// 2026-11-30 12:00 UTC.
const NOON: i64 = 1_796_040_000;

fn now() -> ZonedDateTime {
    Timestamp::from_second(NOON)
        .expect("a time")
        .to_zoned_datetime(TimeZone::UTC)
}

fn sums(name: &str, value: &str, cost: &str) -> Value {
    json!({name: value, "requests": 40, "cost_usd": cost, "baseline_usd": "20", "saved_usd": "7.5"})
}

fn attempt(model: &str, outcome: &str) -> Value {
    json!({"provider": "up", "model": model, "effort": "low", "outcome": outcome, "key": "app", "team": "red", "cost_pico_usd": 2_000_000_000_i64,
        "tokens": {"input": 900, "cached": 100, "output": 50, "reasoning": 20}})
}

fn heard() -> Heard {
    let total = json!({"requests": 40, "cost_usd": "12.5", "baseline_usd": "20", "saved_usd": "7.5",
        "saved_by": {"route": "9"}, "lost_by": {"escalated": "1.5"}});
    let cap = |name: &str, spent: &str, out: Option<i64>| {
        json!({"name": name, "node": "global", "measure": "usd", "window": "day", "limit": "10", "spent": spent, "reserved": "0",
            "resets_at": NOON + 43_200, "exhausted_at": {"6h": out}})
    };
    let decision = json!({"request": "0199f3a2-6f5e-7c11-9d55-2a1be3c0a7d4", "at_ms": NOON * 1_000, "task": "code", "difficulty": 0.71, "rule": "strong",
        "attempts": ["small@low", "big@low"], "baseline": "big@high", "considered": [{"arm": "small@low", "chance": 0.62, "verdict": "cheapest", "expected_usd": "0.01"}],
        "outcome": {"cost_usd": "0.004", "saved_usd": "0.1", "attempts": [attempt("small", "escalated"), attempt("big", "ok")]}});
    Heard {
        health: json!({"version": "0.1.0", "started_at": NOON - 7_200, "now": NOON, "time_zone": "UTC", "simulated": "false", "admits": true,
            "ledger": {"writes": true}, "prices": {"catalogue": "2026-11"}, "configuration": {"read_at": NOON},
            "providers": [{"provider": "up", "models": 2, "errors": {"5xx": 3}, "down": [{"model": "big"}]}]}),
        caps: Ok(
            json!({"caps": [cap("lasting", "1", None), cap("soon", "5", Some(NOON + 3_600)), cap("spent", "10", Some(NOON))]}),
        ),
        days: Ok(
            json!({"rows": [sums("day", "2026-11-29", "3.25"), sums("day", "2026-11-30", "12.5")]}),
        ),
        forecast: Ok(json!({"expected_usd": "410", "low_usd": "380", "high_usd": "440"})),
        report: Ok(
            json!({"rows": [sums("team", "red", "12.5"), sums("team", "", "0.5")], "total": total}),
        ),
        decisions: Ok(json!({"decisions": [decision]})),
    }
}

fn told(heard: &Heard) -> TopFigures {
    let days = Days {
        today: "2026-11-30".into(),
        yesterday: "2026-11-29".into(),
        month: "2026-11-".into(),
    };
    TopFigures::read(heard, &days, "team")
}

fn view() -> View {
    let mut view = View::new();
    view.take(told(&heard()), "12:00:00 UTC".into());
    view
}

fn shown(view: &View, width: u16, height: u16) -> String {
    let canvas = Canvas {
        view,
        now: &now(),
        ink: Ink { colour: true },
    };
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| canvas.draw(frame));
    let buffer = terminal.backend().buffer();
    let row = |y: u16| -> String { (0..width).map(|x| buffer[(x, y)].symbol()).collect() };
    (0..height).map(row).collect::<Vec<_>>().join("\n")
}

fn press(view: &mut View, code: KeyCode) {
    view.press(KeyEvent::from(code));
}

fn has(screen: &str, all: &[&str]) {
    for text in all {
        assert!(screen.contains(text), "no {text:?} in\n{screen}");
    }
}

#[test]
fn the_first_page_tells_spent_saved_who_why_caps_and_decisions() {
    let screen = shown(&view(), 140, 40);
    has(
        &screen,
        &[
            "● ready",
            "$15.75",
            "$7.50 saved",
            "$410.00",
            "$380.00 to $440.00",
            "red",
            "a cheaper model",
            "asked first in vain",
            "used up",
            "today 13:00",
            "lasts",
            "small@low → big@low",
            "escalated",
        ],
    );
    let place = |name: &str| screen.find(name).expect("it is there");
    assert!(place(" spent  ") < place(" soon ") && place(" soon ") < place(" lasting "));
}

#[test]
fn a_decision_that_is_opened_tells_both_attempts_and_the_arms() {
    let mut view = view();
    press(&mut view, KeyCode::Char('4'));
    press(&mut view, KeyCode::Enter);
    let screen = shown(&view, 140, 40);
    has(
        &screen,
        &[
            "attempt 1  small@low  escalated",
            "attempt 2  big@low  ok",
            "1,000 in (100 cached), 50 out (20 hidden)",
            "62 %",
            "cheapest",
        ],
    );
    press(&mut view, KeyCode::Esc);
    assert!(!shown(&view, 140, 40).contains("attempt 1"));
}

#[test]
fn an_answer_that_was_checked_is_no_fallback() {
    let mut checked = heard();
    let mut asked = attempt("judge", "length");
    asked["cause"] = json!("check");
    let decision = json!({"at_ms": NOON * 1_000, "outcome": {"cost_usd": "0.004", "saved_usd": "0.1", "attempts": [attempt("small", "ok"), asked]}});
    checked.decisions = Ok(json!({"decisions": [decision]}));
    let mut view = View::new();
    view.take(told(&checked), String::new());
    press(&mut view, KeyCode::Char('4'));
    let screen = shown(&view, 140, 40);
    has(&screen, &[" small@low "]);
    for wrong in ["fell back", "judge", "→"] {
        assert!(!screen.contains(wrong), "{wrong} in\n{screen}");
    }
}

#[test]
fn only_what_is_looked_for_is_shown_until_it_is_let_go() {
    let mut view = view();
    press(&mut view, KeyCode::Char('3'));
    press(&mut view, KeyCode::Char('/'));
    for letter in "SOON".chars() {
        press(&mut view, KeyCode::Char(letter));
    }
    press(&mut view, KeyCode::Enter);
    let screen = shown(&view, 120, 20);
    assert!(
        screen.contains("soon") && !screen.contains("lasting"),
        "{screen}"
    );
    press(&mut view, KeyCode::Esc);
    has(&shown(&view, 120, 20), &["soon", "lasting"]);
}

#[test]
fn what_is_wrong_stands_above_everything() {
    let mut silent = view();
    silent.reach = Reach::Not(Unheard {
        word: "not reachable",
        why: "nothing answers at http://127.0.0.1:8485".into(),
    });
    has(
        &shown(&silent, 120, 20),
        &["not reachable", "nothing answers at", "$12.50"],
    );
    let mut stopped = heard();
    stopped.health["admits"] = json!(false);
    stopped.report = Err("the ledger did not answer within 5 s".into());
    let mut view = View::new();
    view.take(told(&stopped), String::new());
    has(
        &shown(&view, 120, 20),
        &["refuses requests", "the ledger cannot write"],
    );
    press(&mut view, KeyCode::Char('5'));
    has(
        &shown(&view, 120, 30),
        &[
            "report: the ledger did not answer within 5 s",
            "left alone, 5xx 3",
        ],
    );
}

#[test]
fn before_anything_is_told_nothing_is_claimed_and_why_stands_there_whole() {
    let mut view = View::new();
    let why = "that admin token is not the right one; it is FLYBALL_ADMIN_TOKEN, or --admin-token file:PATH or env:NAME";
    view.reach = Reach::Not(Unheard {
        word: "token needed",
        why: why.into(),
    });
    let screen = shown(&view, 60, 24);
    has(&screen, &["● token needed", "yesterday", "–"]);
    let words: Vec<&str> = screen.split_whitespace().collect();
    assert!(words.join(" ").contains(why), "{screen}");
    for claim in ["$0", "no caps", "no request", "cannot write"] {
        assert!(!screen.contains(claim), "{claim} in\n{screen}");
    }
}

#[test]
fn what_cannot_be_told_any_more_stays_as_it_was_and_what_never_was_is_not_known() {
    let mut stopped = heard();
    stopped.health["admits"] = json!(false);
    let silent = || Err("the ledger did not answer within 5 s".to_owned());
    (stopped.days, stopped.report) = (silent(), silent());
    (stopped.caps, stopped.decisions) = (silent(), silent());
    let mut view = view();
    view.take(told(&stopped), "12:00:09 UTC".into());
    let kept = ["$12.50", "red", "soon", "escalated", "as of 12:00:00 UTC"];
    has(&shown(&view, 140, 40), &kept);
    press(&mut view, KeyCode::Char('p'));
    let screen = shown(&view, 140, 40);
    assert!(!screen.contains(" red  "), "another time's rows: {screen}");
    let mut never = View::new();
    never.take(told(&stopped), String::new());
    let screen = shown(&never, 140, 40);
    assert_eq!(screen.matches("not known yet").count(), 3, "{screen}");
    assert!(!screen.contains("$0"), "{screen}");
}

#[test]
fn at_80_columns_the_last_line_names_its_keys_whole() {
    let screen = shown(&view(), 80, 24);
    has(&screen, &["q quit", "? keys", "space hold"]);
}

#[test]
fn a_terminal_of_any_size_and_names_of_any_kind_can_be_drawn() {
    let mut hostile = heard();
    let name = "\u{1b}[2J\n".repeat(3_000);
    hostile.report = Ok(json!({"rows": [sums("team", &name, "1")], "total": {}}));
    hostile.caps = Ok(json!({"caps": [{"name": name, "limit": "0", "spent": "NaN"}, 7, null]}));
    hostile.decisions = Ok(json!({"decisions": [{"rule": name, "difficulty": -1e300}, "x"]}));
    hostile.forecast = Ok(json!({"expected_usd": null}));
    let mut view = view();
    view.take(told(&hostile), "12:00:00 UTC".into());
    view.help = true;
    for tab in Tab::EVERY {
        view.tab = tab;
        for open in [false, true] {
            view.open = open;
            for (width, height) in [(1, 1), (20, 3), (40, 10), (80, 24), (300, 90)] {
                let screen = shown(&view, width, height);
                assert!(!screen.contains('\u{1b}'));
            }
        }
    }
}
