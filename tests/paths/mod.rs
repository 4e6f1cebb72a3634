//! One table of every kind of call and what may happen to it: what the client sees, what the books say, which counters move.
//!
//! `table.txt` is what flyball does, whether it is right or not; a change of it is a change of behaviour. A line has three parts:
//!
//! | part | what it says |
//! |---|---|
//! | client | status, or `gone`; `same`: the body is the provider's, byte for byte; else the error's code; `error-event`; `cut`; `told`: the row's cost is in headers or trailers; `limit`: the lowered one, which is also what the provider was sent |
//! | books | for each row its outcome, basis, bound, cost and tokens; who answered and why, where that is not what the kind's first line says |
//! | counters | requests that reached the provider, and every counter that moved. Those that repeat a row (attempts, money, tokens, basis) are compared with the rows and told where they disagree |
//!
//! Before a line is written, its fault has been proved: the provider saw the request, its connection was cut by the script or closed by
//! flyball, nobody listened. The ledger replays to the same sums after every case.

mod books;
mod script;
mod table;
mod text;

use crate::client::{self, Answer};
use crate::flyball::{Flyball, make_key};
use crate::scripted::Upstream;
use books::{Row, counters, moved, row, usd};
use flyball::ledger::cap::Cap;
use script::{Script, What};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use table::{KINDS, Kind, Money, OPEN, ROOM};
use tokio::net::{TcpSocket, TcpStream};

const EXPECTED: &str = include_str!("table.txt");
/// Set to 1, the table is written anew instead of compared.
const WRITE: &str = "FLYBALL_WRITE_TABLE";
/// Longer than any wait that succeeds.
const DEADLINE: Duration = Duration::from_secs(60);
/// Cases at once: more would only wait for each other.
const AT_ONCE: usize = 8;

/// One line of the table.
struct Case {
    kind: &'static Kind,
    what: What,
    money: Money,
}

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for kind in KINDS {
        let open = kind.open.concat().into_iter().map(|what| (what, OPEN));
        let room = kind.room.concat().into_iter().map(|what| (what, ROOM));
        let money = kind.money.iter().map(|money| (What::Ok, *money));
        let here = open.chain(room).chain(money);
        all.extend(here.map(|(what, money)| Case { kind, what, money }));
    }
    all
}

#[test]
fn every_kind_of_call_does_the_same_as_ever_whatever_happens_to_it() {
    let cases = cases();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(at) else { return };
                    let line = catch_unwind(AssertUnwindSafe(|| alone(case)));
                    done.lock().unwrap().insert(at, line.map_err(said));
                }
            });
        }
    });
    let done = done.into_inner().unwrap();
    let broken: Vec<String> = done
        .iter()
        .filter_map(|(at, line)| Some((&cases[*at], line.as_ref().err()?)))
        .map(|(case, why)| format!("{}: {why}", name(case)))
        .collect();
    assert!(
        broken.is_empty(),
        "no answer to say anything of:\n{}",
        broken.join("\n")
    );
    let lines = done.into_values().map(|line| line.expect("none is broken"));
    let table = text::written(&cases, &lines.collect::<Vec<_>>());
    if std::env::var(WRITE).is_ok_and(|set| set == "1") {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/paths/table.txt");
        return std::fs::write(file, table).expect("the table can be written");
    }
    let differ = text::differences(EXPECTED, &table);
    assert!(
        differ.is_empty(),
        "flyball does not do what tests/paths/table.txt says:\n\n{differ}\nIf it is meant to, {WRITE}=1 writes the table anew: {WRITE}=1 cargo test --test main -- paths::\n"
    );
}

/// What a panic said.
fn said(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    text.unwrap_or_else(|| "a panic without words".into())
}

fn name(case: &Case) -> String {
    format!(
        "{} | {} | {}",
        case.kind.name,
        case.money.name,
        case.what.name()
    )
}

/// Runs one case in a runtime of its own: nothing of it outlives it.
fn alone(case: &Case) -> Line {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let within = async { tokio::time::timeout(DEADLINE, run(case)).await };
    let line = runtime.block_on(within);
    runtime.shutdown_timeout(DEADLINE);
    line.unwrap_or_else(|_| panic!("it is not over after {DEADLINE:?}"))
}

/// What is written of one case.
struct Line {
    client: String,
    rows: Vec<Row>,
    counters: String,
}

async fn run(case: &Case) -> Line {
    let Case { kind, what, .. } = case;
    let script = script::script(kind, *what);
    let upstream = Upstream::start(script::script(kind, What::Ok).steps).await;
    // When flyball looks at what was made is not this table's affair.
    upstream.tells_only_clients();
    upstream.next(script.steps.clone());
    // Bound and not listening: whoever connects is refused, and nobody else gets the port.
    let nobody = TcpSocket::new_v4().expect("a socket");
    nobody
        .bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .expect("a free port");
    let nobody_at = nobody.local_addr().expect("an address");
    let url = match what {
        What::NotThere => format!("http://{nobody_at}"),
        _ => upstream.url(),
    };
    let flyball = started(case, &url).await;
    let before = counters(&flyball.metrics().await);

    let seen = asked(case, &script, &flyball, &upstream).await;
    if *what == What::NotThere {
        let refused = TcpStream::connect(nobody_at).await.err().map(|e| e.kind());
        assert_eq!(refused, Some(std::io::ErrorKind::ConnectionRefused));
    }

    let rows = flyball.rows().await;
    flyball.books_are_right().await;
    let after = counters(&flyball.metrics().await);
    let moved = moved(&before, &after);
    let line = Line {
        client: seen.told(&script, &rows, &upstream),
        counters: books::told(&moved, &rows, &upstream),
        rows: rows.iter().map(row).collect(),
    };
    flyball.stop().await;
    line
}

async fn started(case: &Case, url: &str) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    std::fs::create_dir(dir.path().join("rules")).expect("a folder");
    std::fs::write(dir.path().join("rules/own.toml"), table::RULE).expect("a file");
    if let Some(cap) = case.money.cap {
        make_key(&dir, "app", None, |key| {
            key.caps = vec![Cap::parse(cap).expect("a cap")];
        });
    }
    let toml = table::config(case.kind, case.what, &case.money, url) + "\n[batch]\nkeep = false\n";
    Flyball::start_in(dir, &toml).await
}

/// What the client saw.
enum Seen {
    Gone,
    Answer(Answer),
}

/// Makes the call, and proves that what was to happen to it has happened.
async fn asked(case: &Case, script: &Script, flyball: &Flyball, upstream: &Upstream) -> Seen {
    let Case { kind, what, money } = case;
    let mut head = format!(
        "{} {} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close, te\r\nte: trailers\r\n",
        kind.method, kind.path
    );
    let key = ("authorization", "Bearer fb_app");
    let own = kind.headers.iter().copied();
    let most = money.most.map(|most| ("x-flyball-max-cost-usd", most));
    let headers = own.chain(money.cap.map(|_| key)).chain(most);
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if kind.headers.iter().all(|(name, _)| *name != "content-type") {
        head += "content-type: application/json\r\n";
    }
    let body = (kind.body)();
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let mut call = client::raw(flyball.at(), request.as_bytes()).await;
    match what {
        What::GoneBefore => {
            within(upstream.stalling(), "the provider gets the request").await;
            drop(call);
            within(upstream.peer_closed(), "flyball hangs up").await;
            Seen::Gone
        }
        What::GoneAfter | What::GoneAfterStops | What::GoneAtEnd => {
            within(upstream.stalling(), "the provider sends what it has").await;
            if kind.flows {
                within(call.until(&script.first), "the client gets it").await;
            }
            drop(call);
            within(upstream.peer_closed(), "flyball hangs up").await;
            Seen::Gone
        }
        // What is rewritten is held back longer than the rest.
        What::LongReset if kind.is_rewritten() => {
            upstream.open_gate();
            let answer = within(call.answer(), "an answer").await;
            assert_eq!(upstream.cuts(), 1, "the connection was cut");
            Seen::Answer(answer)
        }
        What::Reset | What::Closed | What::LongReset if kind.flows || *what == What::LongReset => {
            within(call.until(&script.first), "the client gets the first bytes").await;
            upstream.open_gate();
            let answer = within(call.answer(), "an answer").await;
            assert_eq!(upstream.cuts(), 1, "the connection was cut");
            Seen::Answer(answer)
        }
        _ => {
            let answer = within(call.answer(), "an answer").await;
            let cut = matches!(
                what,
                What::Reset | What::Closed | What::HangsUp | What::BrokenError(_)
            );
            assert_eq!(upstream.cuts() > 0, cut, "a cut");
            if matches!(what, What::Silent | What::Stalls) {
                within(upstream.peer_closed(), "flyball hangs up").await;
            }
            Seen::Answer(answer)
        }
    }
}

async fn within<T>(wait: impl Future<Output = T>, what: &str) -> T {
    let most = Duration::from_secs(30);
    let done = tokio::time::timeout(most, wait).await;
    done.unwrap_or_else(|_| panic!("waited {most:?} in vain: {what}"))
}

impl Seen {
    fn told(&self, script: &Script, rows: &[Value], upstream: &Upstream) -> String {
        let Seen::Answer(answer) = self else {
            return "gone".into();
        };
        let mut words = vec![answer.status.to_string()];
        if answer.body == script.body {
            words.push("same".into());
        } else if answer.status != 200 {
            words.push(code(&answer.body));
        } else if answer.body.contains("\"error\"") {
            words.push("error-event".into());
        }
        if answer.is_cut() {
            words.push("cut".into());
        }
        let in_trailers = answer
            .trailers
            .lines()
            .find_map(|l| l.strip_prefix("x-flyball-cost-usd: "));
        let cost = answer.header("x-flyball-cost-usd").or(in_trailers);
        let of_row = rows.last().map(|r| usd(&r["cost_pico_usd"]));
        match cost {
            Some(cost) if Some(cost) == of_row.as_deref() => words.push("told".into()),
            Some(cost) => words.push(format!("told={cost}")),
            None => {}
        }
        if let Some(limit) = answer.header("x-flyball-limit-tokens") {
            let sent = upstream.seen().pop().expect("a request").body;
            assert!(sent.contains(&format!("_tokens\":{limit}")), "{sent}");
            words.push(format!("limit={limit}"));
        }
        for (header, short) in [
            ("x-flyball-basis", "basis"),
            ("x-flyball-dropped", "dropped"),
            ("retry-after", "retry-after"),
            ("x-should-retry", "should-retry"),
            ("location", "location"),
        ] {
            words.extend(
                answer
                    .header(header)
                    .map(|value| format!("{short}={value}")),
            );
        }
        words.join(" ")
    }
}

/// The code of an error in any dialect.
fn code(body: &str) -> String {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let error = &json["error"];
    let named = [&error["code"], &error["type"], &error["status"]];
    let named = named.into_iter().find_map(Value::as_str);
    let bare = error.as_str().map(|_| "error");
    named.or(bare).unwrap_or("no-error").into()
}
