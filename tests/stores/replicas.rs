//! Several replicas on one PostgreSQL.

use super::database;
use crate::client::post;
use crate::flyball::Flyball;
use crate::money::oracle::{Oracle, fleet};
use crate::money::{body, rounds};
use crate::until::{found, until_asked, within, worked};
use flyball::ledger::balance::Requirement;
use flyball::ledger::cap::{Cap, Counter, Scope};
use flyball::ledger::record::{Opening, Outcome};
use flyball::ledger::store::postgres::Postgres;
use flyball::ledger::store::{Key, Store};
use flyball::ledger::verify::verify;
use flyball::ledger::window::Window;
use flyball::ledger::{Address, Ledger, Settings};
use flyball::money::PicoUsd;
use futures_util::StreamExt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const KEY: [(&str, &str); 1] = [("authorization", "Bearer fb_app")];
const CAP: i128 = 500_000_000_000;

fn books(url: &str, dead_after: Duration) -> Postgres {
    let url = secrecy::SecretString::from(url.to_owned());
    Postgres::open(&url, dead_after).expect("the store")
}

fn make_key(url: &str, usd: &str) {
    let key = Key {
        name: "app".into(),
        hash: flyball::caller::hash(b"fb_app"),
        caps: vec![Cap::parse(&format!("{usd}usd/total")).expect("a cap")],
        ..Key::default()
    };
    books(url, Duration::from_secs(15))
        .create_key(&key)
        .expect("a key");
}

/// A wire between a replica and the database that can be cut.
pub(super) struct Wire {
    at: SocketAddr,
    whole: Arc<watch::Sender<bool>>,
}

impl Wire {
    pub(super) async fn to(server: SocketAddr) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("an address");
        let whole = Arc::new(watch::channel(true).0);
        let switch = whole.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut switch = switch.subscribe();
                tokio::spawn(async move {
                    if !*switch.borrow() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(server).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = switch.wait_for(|whole| !whole) => {}
                    }
                });
            }
        });
        Wire { at, whole }
    }

    pub(super) fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub(super) fn mend(&self) {
        self.whole.send_replace(true);
    }
}

pub(super) fn through(url: &str, wire: &Wire) -> String {
    let config: postgres::Config = url.parse().expect("an address");
    let port = config.get_ports()[0];
    url.replace(&format!("127.0.0.1:{port}"), &wire.at.to_string())
}

async fn replica(oracle: &Oracle, url: &str) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    let secret = dir.path().join("address");
    std::fs::write(&secret, url).expect("a file");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("private");
    }
    let toml = format!(
        "answer_tokens_max = 300\nreplica_timeout = \"2s\"\nshared_ledger = \"file:{}\"\n{}",
        secret.display(),
        fleet(oracle)
    );
    Flyball::start_in(dir, &toml).await
}

/// Calls one after the other until `calls` are made; counts the answers by status.
async fn bother(at: SocketAddr, calls: usize, seed: usize) -> (usize, usize) {
    let (mut fine, mut refused) = (0, 0);
    for n in 0..calls {
        let model = ["o-some", "o-exact", "o-silent"][(n + seed) % 3];
        let limit = (model == "o-exact").then_some(150);
        let asked = body(model, limit, n.is_multiple_of(2), 5);
        match post(at, "/v1/chat/completions", &KEY, &asked).await.status {
            200 => fine += 1,
            402 | 503 => refused += 1,
            other => panic!("{other}"),
        }
    }
    (fine, refused)
}

/// What the shared books say, once nothing is leased or open any more.
async fn settled(url: &str, oracle: &Oracle) -> i128 {
    let (url, billed) = (url.to_owned(), i128::from(oracle.billed()));
    let work = move || {
        let mut store = books(&url, Duration::ZERO);
        store.begin(0).expect("it can be swept");
        let found = verify(&mut store).expect("it can be replayed");
        assert!(found.is_whole() && found.open == 0, "{found:?}");
        let sums = store.sums().expect("read");
        assert!(
            sums.iter().all(|s| s.leased == 0),
            "a lease is stuck: {sums:?}"
        );
        let name = Counter::usd(Scope::key(1), Window::Total).to_string();
        let posted: i128 = sums
            .iter()
            .filter(|s| s.counter == name)
            .map(|s| s.posted)
            .sum();
        assert!(posted >= billed, "posted {posted}, billed {billed}");
        assert!(
            posted <= CAP && billed <= CAP,
            "posted {posted}, billed {billed}"
        );
        posted
    };
    worked("the books are compared", work).await
}

/// A database of this test's own.
async fn own_database() -> Option<String> {
    worked("a database is made", database).await
}

/// A key in it.
async fn own_key(url: &str) {
    let url = url.to_owned();
    worked("a key is made", move || make_key(&url, "0.5")).await;
}

/// A ledger in this process, with a cap of $1.
async fn own_ledger(url: String) -> Arc<Ledger> {
    let settings = Settings {
        shared: Some(Address(secrecy::SecretString::from(url))),
        ..Settings::embedded(Path::new(""))
    };
    let open = move || Ledger::open(settings).expect("a ledger");
    let ledger = worked("the ledger is opened", open).await;
    let cap = Cap::parse("1usd/total").expect("a cap").for_key(1);
    let set = within("the cap is set", ledger.set_caps(|| vec![cap])).await;
    set.expect("set");
    ledger
}

/// An attempt of the key whose cap that is.
fn opening(n: impl std::fmt::Display) -> Opening {
    Opening {
        attempt: format!("a{n}"),
        key: Some(1),
        at_ms: flyball::ledger::now_ms(),
        ..Opening::default()
    }
}

/// Waits until the shared books have some replica for dead.
async fn taken_for_dead(url: &str) {
    until_asked(
        "the replica that was cut off is taken for dead",
        async || {
            let url = url.to_owned();
            let look = move || {
                let mut client = postgres::Client::connect(&url, postgres::NoTls)?;
                let row = client.query_one("SELECT count(*) FROM fb_owner WHERE gone", &[])?;
                Ok::<_, postgres::Error>(row.get::<_, i64>(0))
            };
            worked("the books are read", look).await.expect("read") > 0
        },
    )
    .await;
}

/// Once dropped, whoever looks at it stops.
struct Ends(Arc<AtomicBool>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_taken_for_dead_asks_again_and_refuses_nobody() {
    let Some(url) = own_database().await else {
        return;
    };
    let ledger = own_ledger(url.clone()).await;
    let ask = Requirement {
        fixed: PicoUsd(1_000_000),
        per_token: PicoUsd(1_000),
        tokens: 100,
        tokens_min: 100,
        input_tokens: 10,
        choices: 1,
        ..Requirement::default()
    };
    for n in 0..3 {
        // Whoever opened it before counts as dead at once.
        let place = url.clone();
        let sweep = move || books(&place, Duration::ZERO).begin(0).map(drop);
        let swept = worked("the books are swept", sweep).await;
        swept.expect("swept");
        // More than what is left of the lease of before, so that the store is asked.
        let ask = Requirement {
            fixed: PicoUsd(ask.fixed.0 + 20_000_000_000 * n),
            ..ask
        };
        let held = ledger.reserve(ask, opening(n), Duration::ZERO);
        let held = within("room, or none", held).await;
        held.unwrap_or_else(|why| panic!("{n}: {why:?}"))
            .void(Outcome::NotSent);
    }
    within("the ledger is written", ledger.drain()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_given_back_before_it_is_used_refuses_nobody() {
    let Some(url) = own_database().await else {
        return;
    };
    let ledger = own_ledger(url).await;
    let ask = Requirement {
        fixed: PicoUsd(1_000_000),
        ..Requirement::default()
    };
    let ends = Ends(Arc::default());
    let ticking = {
        // What is idle goes back all the time, not twice a second.
        let (ledger, idle) = (ledger.clone(), ends.0.clone());
        std::thread::spawn(move || {
            while !idle.load(Ordering::Relaxed) {
                drop(ledger.tick());
            }
        })
    };
    for n in 0..3_000 {
        let held = ledger.reserve(ask, opening(n), Duration::ZERO);
        let held = within("room, or none", held).await;
        held.unwrap_or_else(|why| panic!("{n}: {why:?}"))
            .void(Outcome::NotSent);
    }
    drop(ends);
    let ticked = worked("nothing ticks any more", move || ticking.join()).await;
    ticked.expect("no panic");
    within("the ledger is written", ledger.drain()).await;
}

/// Runs SQL in the shared books, beside everybody; gives the first number, where it asks for one.
async fn sql(url: &str, text: &'static str) -> i64 {
    let url = url.to_owned();
    let run = move || {
        let mut client = postgres::Client::connect(&url, postgres::NoTls)?;
        let rows = client.simple_query(text)?;
        let first = rows.iter().find_map(|row| match row {
            postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
            _ => None,
        });
        Ok::<_, postgres::Error>(first.unwrap_or_default())
    };
    worked("the books do as they are told", run)
        .await
        .expect("SQL")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_replica_left_open_is_told_once_by_the_one_that_charges_it() {
    let Some(url) = own_database().await else {
        return;
    };
    let dies = own_ledger(url.clone()).await;
    let ask = Requirement {
        fixed: PicoUsd(1_000_000),
        ..Requirement::default()
    };
    let held = dies.reserve(ask, opening(0), Duration::ZERO);
    let _open = within("room", held).await.expect("room");
    until_asked("it is in the books", async || {
        sql(
            &url,
            "SELECT count(*) FROM fb_attempt WHERE outcome IS NULL",
        )
        .await
            == 1
    })
    .await;
    let lives = own_ledger(url.clone()).await;
    let of_the_first = "UPDATE fb_owner SET beat = now() - interval '1 hour' WHERE id = (SELECT min(id) FROM fb_owner)";
    sql(&url, of_the_first).await;
    let ticks = move || [lives.tick(), lives.tick()];
    let [first, second] = worked("it beats", ticks).await;
    let told: Vec<_> = first
        .iter()
        .map(|s| (&*s.opening.attempt, s.closing.outcome))
        .collect();
    assert_eq!(told, [("a0", Outcome::Crash)]);
    assert!(second.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nobody_knows_whether_a_commit_took_place_who_needs_a_lease_is_told_at_once() {
    let Some(url) = own_database().await else {
        return;
    };
    let config: postgres::Config = url.parse().expect("an address");
    let wire = Wire::to(([127, 0, 0, 1], config.get_ports()[0]).into()).await;
    let ledger = own_ledger(through(&url, &wire)).await;
    // Each commit takes a while from now on, so that it can be cut in two.
    sql(
        &url,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3); RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON fb_owner DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()",
    )
    .await;
    let asks = |n: usize| {
        let ask = Requirement {
            fixed: PicoUsd(1_000_000),
            ..Requirement::default()
        };
        let ledger = ledger.clone();
        async move { ledger.reserve(ask, opening(n), Duration::ZERO).await }
    };
    let first = tokio::spawn(asks(0));
    until_asked("a commit takes a while", async || {
        let commits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query = 'COMMIT' AND datname = current_database()";
        sql(&url, commits).await > 0
    })
    .await;
    wire.cut();
    let why = within("the first one is refused", first).await;
    assert!(why.expect("no panic").is_err());
    let why = within("the second one is refused", asks(1)).await.err();
    let why = format!("{why:?}");
    assert!(why.contains("the answer to a commit was lost"), "{why}");
    sql(&url, "DROP TRIGGER slow ON fb_owner").await;
    wire.mend();
    // Nobody starts it again.
    let mut n = 2;
    let held = found("the store answers again", async || {
        n += 1;
        asks(n).await.ok()
    })
    .await;
    held.void(Outcome::NotSent);
    within("the ledger is written", ledger.drain()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_share_one_cap_to_its_end() {
    let Some(url) = own_database().await else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let oracle = Oracle::start(&dir.path().join("bill")).await;
    own_key(&url).await;
    let replicas = [
        replica(&oracle, &url).await,
        replica(&oracle, &url).await,
        replica(&oracle, &url).await,
    ];
    let calls = replicas.iter().flat_map(|r| [r.at(); 4]).enumerate();
    let told: Vec<(usize, usize)> = futures_util::stream::iter(calls)
        .map(|(seed, at)| bother(at, 40, seed))
        .buffer_unordered(12)
        .collect()
        .await;
    let fine: usize = told.iter().map(|t| t.0).sum();
    for replica in replicas {
        replica.stop().await;
    }
    let posted = settled(&url, &oracle).await;
    // A clean stop gives everything back, so what is posted is what was used, to nearly the whole cap.
    println!("{fine} answers, posted {posted} of {CAP}");
    assert!(
        fine > 150 && posted > CAP * 9 / 10,
        "{fine} answers, posted {posted}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_cut_off_spends_what_it_holds_and_then_refuses() {
    let Some(url) = own_database().await else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    for episode in 0..rounds(1, 5, 50) {
        let oracle = Oracle::start(&dir.path().join(format!("bill{episode}"))).await;
        let Some(url) = (match episode {
            0 => Some(url.clone()),
            _ => own_database().await,
        }) else {
            return;
        };
        own_key(&url).await;
        let config: postgres::Config = url.parse().expect("an address");
        let wire = Wire::to(SocketAddr::from(([127, 0, 0, 1], config.get_ports()[0]))).await;
        let (cut, whole) = (
            replica(&oracle, &through(&url, &wire)).await,
            replica(&oracle, &url).await,
        );
        assert_eq!(bother(cut.at(), 3, episode).await.1, 0);
        wire.whole.send_replace(false);
        // It goes on with its lease and ends with refusals; the other goes on.
        let (_, refused) = bother(cut.at(), 40, episode).await;
        assert!(refused > 0, "its lease ends");
        assert!(
            bother(whole.at(), 10, episode).await.0 > 0,
            "the other one goes on"
        );
        // Then the wire is whole again and it begins anew.
        taken_for_dead(&url).await;
        wire.whole.send_replace(true);
        until_asked("it comes back", async || {
            bother(cut.at(), 1, episode).await.0 > 0
        })
        .await;
        cut.stop().await;
        whole.stop().await;
        settled(&url, &oracle).await;
    }
}

#[test]
fn replicas_that_begin_in_an_empty_database_at_the_same_moment_all_begin() {
    for _ in 0..10 {
        let Some(url) = database() else { return };
        let ready = Arc::new(std::sync::Barrier::new(8));
        let open = |_| {
            let (url, ready) = (url.clone(), Arc::clone(&ready));
            std::thread::spawn(move || {
                ready.wait();
                books(&url, Duration::from_secs(15))
                    .keys()
                    .map(|keys| keys.len())
            })
        };
        let opened: Vec<_> = (0..8).map(open).collect();
        for one in opened {
            assert_eq!(one.join().expect("it opens").expect("it reads"), 0);
        }
    }
}
