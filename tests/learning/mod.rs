//! Learning from the outcomes in the books: what is kept to learn from, what is put in force and when, and how to go back.

mod reactions;
mod simulated;

use crate::client::{get, post};
use crate::flyball::{Flyball, compatible};
use crate::scripted::{Upstream, answer, chat};
use crate::until::{until, until_asked};
use flyball::arm::Effort;
use flyball::classify::kept::pack;
use flyball::learn::outcome::measured;
use flyball::learn::shelf::{self, undo_abilities};
use flyball::ledger::judged::{JudgedAnswer, JudgedBy, MeasuredAsk};
use serde_json::{Value, json};
use simulated::World;
use tempfile::TempDir;

const ADMIN: [(&str, &str); 1] = [("authorization", "Bearer t")];

fn asks(flyball: &Flyball) -> Vec<MeasuredAsk> {
    let mut all = Vec::new();
    let read = flyball.books().asks(&mut |ask| all.push(ask));
    read.expect("the asks");
    all
}

async fn learns(flyball: &Flyball, what: &str) -> (u16, Value) {
    let path = format!("/admin/v1/learning/{what}");
    let got = post(flyball.running.admin, &path, &ADMIN, "").await;
    (
        got.status,
        serde_json::from_str(&got.body).unwrap_or(Value::String(got.body)),
    )
}

fn with_token() -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("token"), "t").expect("written");
    dir
}

fn in_force(flyball: &Flyball) -> bool {
    flyball.running.state.policy.load().overlay.is_some()
}

#[tokio::test]
async fn what_is_judged_keeps_what_was_measured_of_it_and_none_of_its_words() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    for (learn, kept) in [("[learn]\n", 1), ("", 0)] {
        let flyball = Flyball::start(&format!("{}\n{learn}", compatible(&upstream))).await;
        let body = json!({"model": "auto", "messages": [{"role": "user", "content": "Prove that there are infinitely many primes."}]});
        let mut ids = Vec::new();
        for _ in 0..2 {
            let got = flyball.chat(&[], &body.to_string()).await;
            ids.push(
                got.header("x-flyball-request-id")
                    .expect("an id")
                    .to_owned(),
            );
        }
        let said = json!({"request": ids[0], "thumb": "down"}).to_string();
        for _ in 0..2 {
            let got = post(flyball.at(), "/flyball/feedback", &[], &said).await;
            assert_eq!(got.status, 200, "{}", got.body);
        }
        flyball.flush().await;
        let all = asks(&flyball);
        assert_eq!(all.len(), kept, "{learn}");
        for ask in all {
            assert_eq!(ask.request, ids[0]);
            assert!(!String::from_utf8_lossy(&ask.features).contains("prime"));
            assert!(flyball::classify::kept::unpack(&ask.features).is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_learned_is_in_force_at_once_survives_a_restart_and_can_be_undone() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let toml = format!(
        "admin_token = \"file:token\"\n{}\n[learn]\n",
        compatible(&upstream)
    );
    let flyball = Flyball::start_in(with_token(), &toml).await;
    let (status, why) = learns(&flyball, "run").await;
    assert!(
        status == 409
            && why
                .as_str()
                .expect("a sentence")
                .contains("no request that was measured"),
        "{why}"
    );
    assert_eq!(learns(&flyball, "undo").await.0, 409);
    let (outcomes, asks) = World::clear(1).day(360, 0);
    let mut books = flyball.books();
    books.keep_asks(&asks).expect("kept");
    books.keep_outcomes(&outcomes).expect("kept");
    let (status, made) = learns(&flyball, "run").await;
    assert_eq!(
        (status, &made["used"], &made["id"]),
        (200, &json!(true), &json!(1)),
        "{made}"
    );
    assert_eq!(
        (&made["weak"], &made["strong"]),
        (&json!("weak@none"), &json!("strong@none"))
    );
    until("it is in force", || in_force(&flyball)).await;
    // A configuration that is read again changes nothing of that.
    flyball.running.reload().expect("reloaded");
    assert!(in_force(&flyball));
    let flyball = Flyball::start_in(flyball.stop().await, &toml).await;
    until("it is in force again", || in_force(&flyball)).await;
    let got = get(flyball.running.admin, "/admin/v1/learning", &ADMIN).await;
    let told: Value = serde_json::from_str(&got.body).expect("JSON");
    assert_eq!(
        (&told["in_force"], told["made"].as_array().map(Vec::len)),
        (&json!(1), Some(1)),
        "{told}"
    );
    // The same outcomes prove nothing better than what they have made.
    let (_, again) = learns(&flyball, "run").await;
    assert_eq!(
        (&again["used"], &again["id"]),
        (&json!(false), &json!(2)),
        "{again}"
    );
    let (status, now) = learns(&flyball, "undo").await;
    assert_eq!((status, now), (200, json!({"in_force": null})));
    until("the grader stands alone", || !in_force(&flyball)).await;
    assert_eq!(learns(&flyball, "undo").await.0, 409);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_own_fit_wins_and_without_the_table_nothing_is_used() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let (outcomes, asks) = World::clear(1).day(360, 0);
    let toml = format!(
        "admin_token = \"file:token\"\n{}\n[learn]\n",
        compatible(&upstream)
    );
    let flyball = Flyball::start_in(with_token(), &toml).await;
    let mut books = flyball.books();
    books.keep_asks(&asks).expect("kept");
    books.keep_outcomes(&outcomes).expect("kept");
    assert_eq!(learns(&flyball, "run").await.1["used"], true);
    until("it is in force", || in_force(&flyball)).await;
    let learned = flyball
        .running
        .state
        .policy
        .load()
        .overlay
        .clone()
        .expect("an overlay");
    let mut own = (*learned).clone();
    own.because = "The operator's own.".into();
    let file = flyball.dir.path().join("own.json");
    std::fs::write(&file, serde_json::to_string(&own).expect("JSON")).expect("written");
    let because = |flyball: &Flyball| {
        let policy = flyball.running.state.policy.load();
        policy.overlay.as_ref().map(|o| o.because.clone())
    };
    let with_own = format!("{toml}\n[grader]\noverlay = \"own.json\"\n");
    std::fs::write(flyball.dir.path().join("flyball.toml"), with_own).expect("written");
    flyball.running.reload().expect("reloaded");
    assert_eq!(because(&flyball), Some(own.because.clone()));
    // Whoever looks at the shelf does so every few seconds, and leaves it alone.
    let asked = || async {
        get(flyball.running.admin, "/admin/v1/learning", &ADMIN)
            .await
            .status
            == 200
    };
    until_asked("the shelf is read", asked).await;
    assert_eq!(because(&flyball), Some(own.because));
    let bare = toml.replace("[learn]", "");
    let flyball = Flyball::start_in(flyball.stop().await, &bare).await;
    let asked = || async {
        get(flyball.running.admin, "/admin/v1/learning", &ADMIN)
            .await
            .status
            == 200
    };
    until_asked("the shelf is read", asked).await;
    assert!(!in_force(&flyball));
}

/// Proofs that a model has answered, all of them well.
fn proofs(model: &str, count: i64) -> (Vec<JudgedAnswer>, Vec<MeasuredAsk>) {
    let one = |at_ms: i64| {
        // Names that nobody has heard of, so that no two requests are the same.
        let parts = ["ba", "do", "ki", "lu", "me", "no", "pa", "ri"];
        let digit =
            |place: u32| parts[usize::try_from(at_ms / 8_i64.pow(place) % 8).expect("small")];
        let name: String = (0..4).map(digit).collect();
        let words = format!("Prove the theorem of {name} on finite groups.");
        let request = format!("proof {at_ms}");
        let ask = MeasuredAsk {
            request: request.clone(),
            at_ms,
            features: pack(&measured(&words)),
        };
        let outcome = JudgedAnswer {
            request,
            model: model.to_owned(),
            effort: Effort::None,
            by: JudgedBy::Compare,
            task: "maths".into(),
            difficulty_milli: 500,
            score_ppm: 1_000_000,
            cost: None,
            seen_ppm: 0,
            at_ms,
            key: None,
        };
        (outcome, ask)
    };
    (0..count).map(one).unzip()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_whose_answers_were_better_than_its_name_says_is_chosen_until_that_is_undone() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let toml = format!(
        "admin_token = \"file:token\"\n{}\n[learn]\n",
        compatible(&upstream)
    );
    let flyball = Flyball::start_in(with_token(), &toml).await;
    let proof = json!({"model": "auto", "messages": [{"role": "user", "content": "Prove that there are infinitely many primes of the form 4k + 3, and that their density is one half."}]}).to_string();
    let chosen = async |flyball: &Flyball| {
        let got = flyball.chat(&[], &proof).await;
        got.header("x-flyball-model").map(str::to_owned)
    };
    assert_eq!(chosen(&flyball).await.as_deref(), Some("m-big"));
    let (outcomes, asks) = proofs("m-small", 300);
    let mut books = flyball.books();
    books.keep_asks(&asks).expect("kept");
    books.keep_outcomes(&outcomes).expect("kept");
    let (status, made) = learns(&flyball, "run").await;
    // There are no two arms to tell apart, so there is no overlay.
    assert_eq!((status, &made["id"]), (200, &Value::Null), "{made}");
    assert_eq!(made["abilities"]["used"], json!(true), "{made}");
    assert_eq!(made["abilities"]["arms"][0]["arm"], json!("m-small@none"));
    let learned = |flyball: &Flyball| flyball.running.state.policy.load().abilities.is_some();
    until("it is in force", || learned(&flyball)).await;
    flyball.running.reload().expect("reloaded");
    assert_eq!(chosen(&flyball).await.as_deref(), Some("m-small"));
    let flyball = Flyball::start_in(flyball.stop().await, &toml).await;
    until("it is in force again", || learned(&flyball)).await;
    assert_eq!(chosen(&flyball).await.as_deref(), Some("m-small"));
    // The same outcomes prove nothing better than what they have made.
    let (_, again) = learns(&flyball, "run").await;
    assert_eq!(again["abilities"]["used"], json!(false), "{again}");
    assert!(undo_abilities(flyball.books().as_mut()).expect("undone"));
    assert!(!undo_abilities(flyball.books().as_mut()).expect("nothing is left"));
    until("nothing is in force", || !learned(&flyball)).await;
    assert_eq!(chosen(&flyball).await.as_deref(), Some("m-big"));
}

#[tokio::test]
async fn a_mistake_in_the_table_is_told() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    for (learn, why) in [
        ("at = \"25:00\"", "\"25:00\" is no time of day"),
        ("at = \"3\"", "is no time of day"),
        ("weak = \"m-small\"", "weak and strong belong together"),
        (
            "weak = \"m-smal\"\nstrong = \"m-big\"",
            "did you mean \"m-small\"",
        ),
        ("nightli = true", "nightly"),
    ] {
        let toml = format!("{}\n[learn]\n{learn}\n", compatible(&upstream));
        let dir = tempfile::tempdir().expect("a folder");
        let Err(told) = Flyball::try_start(dir, &toml).await else {
            panic!("{learn} is taken");
        };
        assert!(told.contains(why), "{learn}: {told}");
    }
}

#[tokio::test]
async fn a_night_in_which_learning_has_failed_is_learned_in_at_the_next_chance() {
    let flyball = crate::flyball::Flyball::start("[simulate]\n").await;
    let books = flyball.books();
    let (first, others, again) = crate::until::worked("the shelf is asked", move || {
        let mut books = books;
        let books = books.as_mut();
        let first = shelf::claim(books, 20_000).expect("the books");
        let others = shelf::claim(books, 20_000).expect("the books");
        assert!(
            !shelf::give_back(books, 19_999).expect("the books"),
            "another night"
        );
        assert!(shelf::give_back(books, 20_000).expect("the books"));
        (
            first,
            others,
            shelf::claim(books, 20_000).expect("the books"),
        )
    })
    .await;
    assert_eq!((first, others, again), (true, false, true));
}
