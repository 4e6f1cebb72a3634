//! Whatever fails in either attempt of a probe: the books are right, no cap is passed, and what was sent is in the ledger once.

use super::folder;
use crate::client::{self, Answer};
use crate::flyball::{Flyball, make_key};
use crate::money::{rounds, spent};
use crate::scripted::read_request;
use flyball::affinity::Manner;
use flyball::learn::chance::Chance;
use flyball::money::PicoUsd;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What an attempt meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Sure,
    Unsure,
    Status(u16),
    /// The connection is reset in the middle.
    Reset,
    /// It stops in the middle, and the client leaves.
    Stall,
    /// Log-probabilities that are none, beside one that is.
    Garbage,
    /// Its usage says less than its words do.
    Liar,
    /// JSON that ends in the middle, with a clean end of the body.
    Truncated,
    /// Nothing comes for a while.
    Slow,
}

/// How often each of a hundred attempts meets what.
const WEAK: [(u64, Fate); 11] = [
    (22, Fate::Sure),
    (27, Fate::Unsure),
    (6, Fate::Status(500)),
    (5, Fate::Status(429)),
    (4, Fate::Status(400)),
    (8, Fate::Reset),
    (8, Fate::Stall),
    (5, Fate::Garbage),
    (5, Fate::Liar),
    (6, Fate::Truncated),
    (4, Fate::Slow),
];
const STRONG: [(u64, Fate); 9] = [
    (42, Fate::Sure),
    (9, Fate::Status(500)),
    (7, Fate::Status(429)),
    (6, Fate::Status(400)),
    (10, Fate::Reset),
    (9, Fate::Stall),
    (7, Fate::Liar),
    (6, Fate::Truncated),
    (4, Fate::Slow),
];

fn drawn(chance: &mut Chance, fates: &[(u64, Fate)]) -> Fate {
    let mut at = chance.draw() % 100;
    for (share, fate) in fates {
        match at.checked_sub(*share) {
            None => return *fate,
            Some(rest) => at = rest,
        }
    }
    Fate::Sure
}

/// One request: what both attempts will meet, and what is asked.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    number: usize,
    weak: Fate,
    strong: Fate,
    words: usize,
    dialect: usize,
    streamed: bool,
    key: usize,
}

pub fn case(seed: u64, number: usize) -> Case {
    let mut chance = Chance::new(seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Case {
        number,
        weak: drawn(&mut chance, &WEAK),
        strong: drawn(&mut chance, &STRONG),
        words: [3, 20, 40][chance.below(3)],
        dialect: chance.below(3),
        streamed: chance.draw().is_multiple_of(2),
        key: chance.below(KEYS.len()),
    }
}

/// Some callers say what a request may cost at most.
fn is_frugal(number: usize) -> bool {
    number.is_multiple_of(9)
}

/// Keys, and their caps in dollars for each hundred requests.
const KEYS: [(&str, Option<u64>); 3] = [("tight", Some(1)), ("roomy", Some(4)), ("free", None)];

/// An attempt as the provider saw it.
#[derive(Clone, Debug)]
struct SeenAttempt {
    case: usize,
    model: String,
    fate: Fate,
    streamed: bool,
    /// What the provider bills for it, in pico-dollars.
    bill: i128,
}

/// A provider that lets each attempt meet its fate.
#[derive(Clone)]
pub struct Cast {
    address: SocketAddr,
    seed: u64,
    seen: Arc<Mutex<Vec<SeenAttempt>>>,
    stalled: Arc<watch::Sender<HashSet<usize>>>,
}

impl Cast {
    pub async fn start(seed: u64) -> Cast {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let cast = Cast {
            address: listener.local_addr().expect("an address"),
            seed,
            seen: Arc::default(),
            stalled: Arc::new(watch::channel(HashSet::new()).0),
        };
        let accepting = cast.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let cast = accepting.clone();
                tokio::spawn(async move { cast.serve(stream).await });
            }
        });
        cast
    }

    async fn serve(&self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut buffer = Vec::new();
        while let Some(seen) = read_request(&mut stream, &mut buffer).await {
            let asked: Value = serde_json::from_str(&seen.body).expect("JSON");
            let (_, number) = seen.body.split_once("case ").expect("it is marked");
            let number: String = number.chars().take_while(char::is_ascii_digit).collect();
            let case = case(self.seed, number.parse().expect("a number"));
            let model = asked["model"].as_str().expect("a model").to_owned();
            let fate = match model.ends_with("small") {
                true => case.weak,
                false => case.strong,
            };
            let limit = asked["max_tokens"]
                .as_u64()
                .or(asked["max_completion_tokens"].as_u64());
            let limit = limit.and_then(|limit| usize::try_from(limit).ok());
            let made = Made {
                fate,
                words: case.words.min(limit.unwrap_or(case.words)),
                input: seen.body.len() / 4 + 10,
                big: !model.ends_with("small"),
                tells: asked["logprobs"] == true,
                streamed: asked["stream"] == true,
            };
            self.seen.lock().unwrap().push(SeenAttempt {
                case: case.number,
                model,
                fate,
                streamed: made.streamed,
                bill: made.bill(),
            });
            if fate == Fate::Slow {
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
            let sent = stream.write_all(&made.bytes()).await.is_ok();
            match fate {
                Fate::Stall => {
                    self.stalled.send_modify(|all| {
                        all.insert(case.number);
                    });
                    let _ = stream.read(&mut [0]).await;
                    return;
                }
                Fate::Reset => {
                    #[allow(deprecated, reason = "the one portable way to a RST")]
                    let _ = stream.set_linger(Some(Duration::ZERO));
                    return;
                }
                _ if !sent => return,
                _ => {}
            }
        }
    }

    /// Waits until an attempt of this case stalls.
    async fn stalls(&self, case: usize) {
        let mut stalled = self.stalled.subscribe();
        let _ = stalled.wait_for(|all| all.contains(&case)).await;
    }
}

/// An answer that is made.
struct Made {
    fate: Fate,
    words: usize,
    input: usize,
    big: bool,
    /// It is asked for log-probabilities.
    tells: bool,
    streamed: bool,
}

impl Made {
    fn bill(&self) -> i128 {
        if let Fate::Status(400 | 429) = self.fate {
            return 0;
        }
        let micro = if self.big { 100 } else { 1 };
        let tokens = self.input as i128 + 10 * self.words as i128;
        tokens * micro * 1_000_000
    }

    fn said(&self) -> Vec<&'static str> {
        vec![if self.big { " strong" } else { " weak" }; self.words]
    }

    fn logprob(&self, at: usize) -> Value {
        match self.fate {
            Fate::Garbage if at > 0 => {
                [json!("low"), json!(7.5), json!(null), json!(1e300)][at % 4].clone()
            }
            // What breaks off may have been sure so far.
            Fate::Sure | Fate::Garbage | Fate::Reset | Fate::Truncated => json!(-0.001),
            _ => json!(-1.6),
        }
    }

    /// Some words, and how likely they are where that was asked for.
    fn choice(&self, field: &str, words: &str, from: usize, to: usize) -> Value {
        let finish = if field == "message" {
            json!("stop")
        } else {
            Value::Null
        };
        let mut choice = json!({"index": 0, field: {"role": "assistant", "content": words}, "finish_reason": finish});
        if self.tells {
            let said = self.said();
            let token = |at: usize| json!({"token": said[at], "logprob": self.logprob(at), "bytes": null, "top_logprobs": []});
            choice["logprobs"] =
                json!({"content": (from..to).map(token).collect::<Vec<_>>(), "refusal": null});
        }
        choice
    }

    fn usage(&self) -> Value {
        let (input, output) = (self.input, self.words);
        match self.fate {
            Fate::Liar if output.is_multiple_of(3) => {
                json!({"prompt_tokens": -7, "completion_tokens": "3", "total_tokens": 1e99})
            }
            Fate::Liar => json!({"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}),
            _ => {
                json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        if let Fate::Status(status) = self.fate {
            let body = format!(r#"{{"error":{{"message":"it is {status}","type":"x"}}}}"#);
            return whole(status, body.len(), &body);
        }
        match self.streamed {
            false => {
                let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [self.choice("message", &self.said().concat(), 0, self.words)], "usage": self.usage()});
                let body = body.to_string();
                let half = &body[..body.len() / 2];
                match self.fate {
                    Fate::Truncated => whole(200, half.len(), half),
                    Fate::Reset | Fate::Stall => whole(200, body.len(), half),
                    _ => whole(200, body.len(), &body),
                }
            }
            true => self.events(),
        }
    }

    fn events(&self) -> Vec<u8> {
        let mut out =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                .to_owned();
        let mut piece = |text: &str| out += &format!("{:x}\r\n{text}\r\n", text.len());
        let said = self.said();
        let event = |at: usize| {
            let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [self.choice("delta", said[at], at, at + 1)]});
            format!("data: {chunk}\n\n")
        };
        let breaks = matches!(self.fate, Fate::Reset | Fate::Stall | Fate::Truncated);
        let whole = if breaks {
            self.words * 3 / 4
        } else {
            self.words
        };
        (0..whole).for_each(|at| piece(&event(at)));
        match self.fate {
            Fate::Truncated => {
                piece(&event(whole)[..40]);
                out += "0\r\n\r\n";
            }
            _ if breaks => {}
            _ => {
                piece(
                    "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
                );
                let usage = json!({"id": "c", "model": "m", "choices": [], "usage": self.usage()});
                piece(&format!("data: {usage}\n\n"));
                piece("data: [DONE]\n\n");
                out += "0\r\n\r\n";
            }
        }
        out.into_bytes()
    }
}

fn whole(status: u16, length: usize, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// A provider of two models, where it is, and whether it is on the operator's own machines.
pub fn provider(cast: &Cast, name: &str, local: bool) -> String {
    let mut toml = format!(
        "[[provider]]\nname = \"{name}\"\nkind = \"openai-compatible\"\nlocal = {local}\nbase_url = \"http://{}\"\n",
        cast.address
    );
    for (model, tier, dollars) in [("small", "small", 1), ("big", "reasoning", 100)] {
        // What is local is dearer here: nothing but its being confidential keeps a request there.
        let dollars = if local { 2 * dollars } else { dollars };
        toml += &format!(
            "[[model]]\nname = \"{name}-{model}\"\nprovider = \"{name}\"\ntier = \"{tier}\"\nefforts = []\nlogprobs = true\ncontext_tokens = 100000\nanswer_tokens_max = 4000\ninput_usd_per_mtok = {dollars}\noutput_usd_per_mtok = {dollars}0\n"
        );
    }
    toml
}

/// The request's path and body.
fn asked(case: &Case) -> (String, String) {
    let text = format!(
        "Which river flows through the capital of Moldova? case {}.",
        case.number
    );
    let limit = 60 + case.number % 300;
    match case.dialect {
        0 => (
            "/v1/chat/completions".into(),
            json!({"model": "auto", "stream": case.streamed, "max_tokens": limit, "messages": [{"role": "user", "content": text}]}).to_string(),
        ),
        1 => (
            "/v1/messages".into(),
            json!({"model": "auto", "stream": case.streamed, "max_tokens": limit, "messages": [{"role": "user", "content": text}]}).to_string(),
        ),
        _ => (
            format!("/v1beta/models/auto:{}", if case.streamed { "streamGenerateContent?alt=sse" } else { "generateContent" }),
            json!({"generationConfig": {"maxOutputTokens": limit}, "contents": [{"role": "user", "parts": [{"text": text}]}]}).to_string(),
        ),
    }
}

/// Sends one request. `None`: the client has left, since an attempt stalls.
pub async fn call(
    at: SocketAddr,
    cast: &Cast,
    case: &Case,
    more: &[(&str, &str)],
) -> Option<Answer> {
    let (path, body) = asked(case);
    let session = format!("case {}", case.number);
    let mut headers = vec![("x-flyball-session", session.as_str())];
    headers.extend(more);
    let sent = client::send(at, &path, &headers, &body).await;
    tokio::select! {
        answer = sent.answer() => Some(answer),
        () = cast.stalls(case.number) => None,
    }
}

/// The client has got one clean answer, or one error, in its own words.
fn is_clean(case: &Case, got: &Answer) {
    let end = got.body.len().saturating_sub(400);
    let told = format!("{case:?}: {} {}", got.head, &got.body[end..]);
    assert!(!got.body.contains("\"logprob\""), "{told}");
    assert!(
        !(got.body.contains("weak") && got.body.contains("strong")),
        "{told}"
    );
    let words = |who: &str| got.body.contains(who) && got.status == 200;
    let breaks = |fate| matches!(fate, Fate::Reset | Fate::Truncated | Fate::Status(_));
    // What broke off while nobody had seen any of it is not passed on as if it were an answer.
    let released = case.streamed && case.words == 40;
    if let Some("stands" | "strong_failed") = got.header("x-flyball-probe") {
        assert!(!breaks(case.weak) || released, "{told}");
    }
    if got.header("x-flyball-probe") == Some("escalated") {
        assert!(!breaks(case.strong) || case.streamed, "{told}");
    }
    match got.header("x-flyball-probe") {
        Some("stands" | "strong_failed") => assert!(!words("strong"), "{told}"),
        // Where the better arm was busy as well, the other one may have been asked for the answer itself.
        Some("escalated" | "failed" | "no_room") => {
            assert!(
                !words("weak") || got.header("x-flyball-barred").is_some(),
                "{told}"
            );
        }
        None => {}
        Some(other) => panic!("{other}: {told}"),
    }
}

/// Both books: what was sent is in the ledger once, and what went on from an answer says so truly. Gives the rows.
async fn compare(flyball: &Flyball, cast: &Cast) -> Vec<Value> {
    flyball.books_are_right().await;
    let rows = flyball.rows().await;
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let mut unmet: Vec<(String, String)> = Vec::new();
    let seen = cast.seen.lock().unwrap().clone();
    let mut sent: Vec<(String, String)> = seen
        .iter()
        .map(|seen| (format!("case {}", seen.case), seen.model.clone()))
        .collect();
    for row in rows.iter().filter(|row| row["outcome"] != "not_sent") {
        let booked = (text(row, "session"), text(row, "model"));
        match sent.iter().position(|sent| *sent == booked) {
            Some(at) => drop(sent.swap_remove(at)),
            None => unmet.push((booked.0, text(row, "outcome"))),
        }
    }
    assert!(sent.is_empty(), "sent, and not booked: {sent:?}");
    // A client that leaves at that moment may close the connection before the provider has read the request.
    assert!(
        unmet.iter().all(|(_, outcome)| outcome == "client_gone") && unmet.len() <= seen.len() / 50,
        "booked, and never sent: {unmet:?}"
    );
    let by_attempt: BTreeMap<String, &Value> =
        rows.iter().map(|row| (text(row, "attempt"), row)).collect();
    assert_eq!(by_attempt.len(), rows.len(), "an attempt is there twice");
    for row in rows.iter().filter(|row| !row["escalated_from"].is_null()) {
        let from = by_attempt
            .get(&text(row, "escalated_from"))
            .unwrap_or_else(|| panic!("it names no attempt: {row}"));
        assert_eq!(from["request"], row["request"]);
        let delivered = matches!(from["outcome"].as_str(), Some("ok" | "length"));
        // Only an arm that has failed is asked once more.
        let failed = !delivered && from["outcome"] != "escalated";
        assert!(failed || from["model"] != row["model"], "{from} {row}");
        let answers = matches!(row["outcome"].as_str(), Some("ok" | "length"));
        assert!(
            !(delivered && answers),
            "both answers were delivered: {from} {row}"
        );
        if from["outcome"] == "escalated" {
            assert_eq!(from["baseline_pico_usd"], 0, "{from}");
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_in_either_attempt_caps_hold_and_every_attempt_is_in_the_books_once() {
    let calls = rounds(600, 1_500, 10_000);
    let seed = 12;
    let cast = Cast::start(seed).await;
    let dir = folder();
    let mut caps = Vec::new();
    for (name, cap) in KEYS {
        let cap = cap.map(|dollars| dollars * calls as u64 / 100);
        make_key(&dir, name, cap.map(|c| c.to_string()).as_deref(), |_| {});
        caps.push(cap.map(|dollars| PicoUsd(i128::from(dollars) * 1_000_000_000_000)));
    }
    let toml = format!(
        "probe = \"pays\"\nprobe_explore = 0.1\nprobe_hold = \"10m\"\nanswer_tokens_min = 32\n{}",
        provider(&cast, "up", false)
    );
    let flyball = Flyball::start_in(dir, &toml).await;
    let (at, evidence) = (
        flyball.at(),
        flyball.running.state.affinity.habits().evidence(),
    );
    let (flyball, cast) = (&flyball, &cast);
    let health = &flyball.running.state.channels.health;
    let answers: Vec<(Case, Option<Answer>)> = stream::iter(0..calls)
        .map(|number| async move {
            let case = case(seed, number);
            // So much fails that both models would be passed over as down most of the time: half of the requests meet them well.
            if number % 2 == 1 {
                health.forget("up");
            }
            // What refuses or hides its probabilities thrice is left alone for an hour; here it goes on.
            for stream in [false, true] {
                evidence.told(
                    "up-small",
                    Manner {
                        tools: false,
                        stream,
                    },
                );
            }
            let key = format!("Bearer fb_{}", KEYS[case.key].0);
            let mut headers = vec![("authorization", key.as_str())];
            headers.extend(is_frugal(number).then_some(("x-flyball-max-cost-usd", "0.15")));
            let got = call(at, cast, &case, &headers).await;
            (case, got)
        })
        .buffer_unordered(16)
        .collect()
        .await;
    let mut probes: BTreeMap<String, usize> = BTreeMap::new();
    for (case, got) in &answers {
        if let Some(got) = got {
            is_clean(case, got);
            let probe = got.header("x-flyball-probe").unwrap_or("none");
            *probes.entry(format!("{probe} {}", got.status)).or_default() += 1;
        } else {
            *probes.entry("the client left".into()).or_default() += 1;
        }
    }
    let rows = compare(flyball, cast).await;
    let seen = cast.seen.lock().unwrap().clone();
    for (at, (name, _)) in KEYS.iter().enumerate() {
        let Some(cap) = caps[at] else { continue };
        let booked = i128::from(spent(
            flyball.books().as_mut(),
            i64::try_from(at + 1).expect("small"),
        ));
        let own: BTreeSet<usize> = answers
            .iter()
            .filter(|(case, _)| case.key == at)
            .map(|(case, _)| case.number)
            .collect();
        let billed: i128 = seen
            .iter()
            .filter(|seen| own.contains(&seen.case))
            .map(|seen| seen.bill)
            .sum();
        println!("{name}: cap {}, booked {booked}, billed {billed}", cap.0);
        assert!(
            billed <= booked && booked <= cap.0,
            "{name}: billed {billed}, booked {booked}, cap {}",
            cap.0
        );
    }
    let mut bounds: BTreeMap<String, i64> = BTreeMap::new();
    // What was void can have cost nothing. An answer that stands is paid when another arm is asked for a comparison with it.
    for row in rows.iter().filter(|row| row["basis"] != "void") {
        let session = row["session"].as_str().expect("a session").to_owned();
        let stands = matches!(row["outcome"].as_str(), Some("ok" | "length"));
        let compared = stands
            && rows
                .iter()
                .any(|other| other["escalated_from"] == row["attempt"]);
        let most = if compared {
            "cost_pico_usd"
        } else {
            "bound_pico_usd"
        };
        *bounds.entry(session).or_default() += row[most].as_i64().expect("an amount");
    }
    for number in (0..calls).filter(|number| is_frugal(*number)) {
        let both = bounds.get(&format!("case {number}")).copied().unwrap_or(0);
        assert!(
            both <= 150_000_000_000,
            "both attempts of {number} may cost {both}: {:?} {:?} {:#?}",
            seen.iter()
                .filter(|s| s.case == number)
                .map(|s| (s.model.clone(), s.fate, s.streamed, s.bill))
                .collect::<Vec<_>>(),
            answers
                .iter()
                .filter(|(c, _)| c.number == number)
                .map(|(_, a)| a.as_ref().map(|a| (a.status, a.head.clone())))
                .collect::<Vec<_>>(),
            rows.iter()
                .filter(|row| row["session"] == format!("case {number}"))
                .collect::<Vec<_>>()
        );
    }
    let mut met: BTreeMap<(bool, Fate, bool), usize> = BTreeMap::new();
    for seen in &seen {
        let strong = seen.model == "up-big";
        *met.entry((strong, seen.fate, seen.streamed)).or_default() += 1;
    }
    println!("{met:?}\n{probes:?}\n{} rows", rows.len());
    for (strong, fates) in [(false, &WEAK[..]), (true, &STRONG[..])] {
        for (_, fate) in fates {
            for streamed in [false, true] {
                let times = met.get(&(strong, *fate, streamed));
                assert!(
                    times.is_some(),
                    "{fate:?} was never met: strong {strong}, streamed {streamed}"
                );
            }
        }
    }
    for probe in [
        "stands 200",
        "escalated 200",
        "strong_failed 200",
        "no_room 200",
        "the client left",
    ] {
        assert!(probes.contains_key(probe), "{probe}: {probes:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confidential_request_is_probed_and_escalated_among_local_models_only() {
    let seed = 21;
    let (own, remote) = (Cast::start(seed).await, Cast::start(seed).await);
    let toml = format!(
        "probe = \"pays\"\nprobe_hold = \"10m\"\n{}{}",
        provider(&own, "own", true),
        provider(&remote, "remote", false)
    );
    let dir = tempfile::tempdir().expect("a folder");
    let rule = "[[rule]]\nname = \"any\"\nwhy = \"A test.\"\nroute = { least = \"small\", most = \"reasoning\" }\n";
    std::fs::create_dir(dir.path().join("rules")).expect("a folder");
    std::fs::write(dir.path().join("rules/any.toml"), rule).expect("a file");
    let flyball = Flyball::start_in(dir, &toml).await;
    let (at, own) = (flyball.at(), &own);
    // Where nothing is confidential the remote ones answer, which are cheaper here.
    let best = [("x-flyball-objective", "best")];
    call(at, &remote, &case(seed, 1_000_000), &best).await;
    let others = remote.seen.lock().unwrap().len();
    assert!(others > 0 && own.seen.lock().unwrap().is_empty());
    let answers: Vec<Option<Answer>> = stream::iter(0..rounds(150, 300, 1_000))
        .map(|number| async move {
            let case = case(seed, number);
            let headers = [
                ("x-flyball-privacy", "local"),
                ("x-flyball-objective", "best"),
            ];
            call(at, own, &case, &headers).await
        })
        .buffer_unordered(8)
        .collect()
        .await;
    let left = remote.seen.lock().unwrap().len() - others;
    assert_eq!(left, 0, "it left the machine");
    own.seen
        .lock()
        .unwrap()
        .extend(remote.seen.lock().unwrap().clone());
    compare(&flyball, own).await;
    for wanted in ["stands", "escalated", "strong_failed"] {
        let mut answers = answers.iter().flatten();
        assert!(
            answers.any(|got| got.header("x-flyball-probe") == Some(wanted)),
            "none was {wanted}"
        );
    }
}
