//! What the next turn says of an answer: how surely it is heard, and what comes of it.

use super::asks;
use crate::client::post;
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Upstream, answer, chat};
use crate::until::until_asked;
use flyball::classify::reaction::{Reaction, reaction_to};
use flyball::ledger::judged::{JudgedAnswer, JudgedBy};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Line {
    lang: String,
    asked: String,
    answered: String,
    said: String,
    label: String,
}

#[test]
fn of_what_is_heard_hardly_anything_was_not_meant() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/reactions.jsonl"
    );
    let text = std::fs::read_to_string(path).expect("the turns");
    let (mut heard, mut right, mut meant, mut wrong) = (0, 0, 0, Vec::new());
    let mut missed: BTreeMap<String, u32> = BTreeMap::new();
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).expect("a turn");
        let found = reaction_to(&line.asked, &line.answered, &line.said);
        let told = match found {
            Some(Reaction::Rejected) => "rejected",
            Some(Reaction::AskedAgain) => "again",
            None => "none",
        };
        // Both are a vote against the answer.
        let (is, was) = (told != "none", line.label != "none");
        heard += u32::from(is);
        right += u32::from(is && was);
        meant += u32::from(was);
        if is && !was {
            wrong.push(line.said);
        } else if was && !is {
            *missed.entry(line.lang).or_default() += 1;
        }
    }
    let share = |part: u32, of: u32| f64::from(part) / f64::from(of);
    println!(
        "{} turns: heard {heard}, precision {:.3}, recall {:.3} ({meant} meant); wrongly: {wrong:?}; missed by language: {missed:?}",
        text.lines().count(),
        share(right, heard),
        share(right, meant)
    );
    assert!(text.lines().count() >= 200);
    assert!(share(right, heard) >= 0.9, "{wrong:?}");
    assert!(share(right, meant) >= 0.6, "{missed:?}");
}

const KEY: [(&str, &str); 1] = [("authorization", "Bearer fb_app")];

async fn says(flyball: &Flyball, turns: &[&str]) -> String {
    let roles = ["user", "assistant"].into_iter().cycle();
    let turns = turns
        .iter()
        .zip(roles)
        .map(|(text, role)| json!({"role": role, "content": text}));
    let body = json!({"model": "auto", "messages": turns.collect::<Vec<Value>>()});
    let got = flyball.chat(&KEY, &body.to_string()).await;
    assert_eq!(got.status, 200, "{}", got.body);
    got.header("x-flyball-request-id")
        .expect("an id")
        .to_owned()
}

fn outcomes(flyball: &Flyball) -> Vec<JudgedAnswer> {
    let mut all = Vec::new();
    let read = flyball.books().outcomes(&mut |o| all.push(o));
    read.expect("the outcomes");
    all
}

const PRIMES: &str = "Prove that there are infinitely many prime numbers of the form 4k+3.";

#[tokio::test]
async fn a_turn_that_rejects_the_answer_before_it_is_one_vote_against_that_one() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", None, |_| {});
    let toml = format!("{}\n[learn]\nimplicit = true\n", compatible(&upstream));
    let flyball = Flyball::start_in(dir, &toml).await;
    let first = says(&flyball, &[PRIMES]).await;
    // Turns that say nothing of it, and one more conversation that nobody complains of.
    says(&flyball, &[PRIMES, "hi there", "Thanks, and now for 6k+5?"]).await;
    says(&flyball, &["What is the capital of Spain?"]).await;
    assert!(outcomes(&flyball).is_empty());
    for _ in 0..2 {
        says(&flyball, &[PRIMES, "hi there", "No, that's wrong."]).await;
        until_asked("it is heard", async || !outcomes(&flyball).is_empty()).await;
    }
    let all = outcomes(&flyball);
    let [vote] = &all[..] else { panic!("{all:?}") };
    assert_eq!(
        (&vote.request, vote.by, vote.score_ppm),
        (&first, JudgedBy::Implicit, 0)
    );
    assert!(vote.key.is_some() && vote.seen_ppm == 0);
    until_asked("what was measured is kept", async || {
        asks(&flyball).len() == 1
    })
    .await;
    // A caller's own word stands beside it.
    let said = json!({"request": first, "thumb": "up"}).to_string();
    assert_eq!(
        post(flyball.at(), "/flyball/feedback", &KEY, &said)
            .await
            .status,
        200
    );
    assert_eq!(outcomes(&flyball).len(), 2);
}

#[tokio::test]
async fn a_turn_that_is_edited_and_sent_again_is_one_too_and_without_the_switch_none_is() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    for (switch, heard) in [("implicit = true", true), ("", false)] {
        let dir = tempfile::tempdir().expect("a folder");
        make_key(&dir, "app", None, |_| {});
        let toml = format!("{}\n[learn]\n{switch}\n", compatible(&upstream));
        let flyball = Flyball::start_in(dir, &toml).await;
        says(&flyball, &[PRIMES]).await;
        let second = says(
            &flyball,
            &[
                PRIMES,
                "hi there",
                "Write the proof again as a short numbered list of steps",
            ],
        )
        .await;
        // The same turn in other words, and then another one in its place, of which nobody knows why.
        says(
            &flyball,
            &[
                PRIMES,
                "hi there",
                "Write the proof as a short numbered list of five steps again",
            ],
        )
        .await;
        if heard {
            until_asked("it is heard", async || !outcomes(&flyball).is_empty()).await;
        }
        says(
            &flyball,
            &[PRIMES, "hi there", "Which book has more of this?"],
        )
        .await;
        flyball.rows().await;
        let told: Vec<_> = outcomes(&flyball)
            .into_iter()
            .map(|o| (o.request, o.by))
            .collect();
        assert_eq!(told.len(), usize::from(heard), "{told:?}");
        assert!(
            told.iter()
                .all(|t| *t == (second.clone(), JudgedBy::Implicit))
        );
    }
}
