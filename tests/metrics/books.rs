//! What metrics tell of the books: spending and savings by period, when caps are used up, what is provisional. All of it is there again
//! after a restart.

use super::{ask, attempts, samples, sum};
use crate::flyball::{Flyball, compatible};
use crate::scripted::{Step, Upstream, answer, chat};
use flyball::ledger::now;
use flyball::ledger::record::{Attempt, Basis};
use flyball::money::PICO_PER_USD;
use std::collections::BTreeMap;

const CAPS: &str = "
[[cap]]
name = \"everything\"
usd = 10
window = \"month\"
[[cap]]
model = \"m-none-*\"
usd = 10
window = \"month\"
";

async fn read(flyball: &Flyball) -> BTreeMap<String, f64> {
    flyball.running.account().await;
    samples(&flyball.metrics().await)
}

fn dollars(rows: &[Attempt], of: impl Fn(&Attempt) -> i128) -> f64 {
    rows.iter().map(of).sum::<i128>() as f64 / PICO_PER_USD as f64
}

#[tokio::test]
async fn what_the_books_say_is_there_again_after_a_restart() {
    let upstream = Upstream::start(answer(200, &chat(4_000, 700))).await;
    let toml = format!("{}{CAPS}", compatible(&upstream));
    let flyball = Flyball::start(&toml).await;
    for model in ["auto", "m-small", "m-small", "m-big"] {
        let answer = flyball.chat(&[], &ask(model, "What is a lock?")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    // Nobody will ever know what this one cost.
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{";
    upstream.next(vec![Step::Send(cut.into()), Step::Reset]);
    flyball.chat(&[], &ask("m-big", "What is a lock?")).await;
    let rows = attempts(&flyball).await;
    let closing = |a: &Attempt| a.closing.clone().expect("it has ended");
    let cost = dollars(&rows, |a| closing(a).cost.0);
    let saved = dollars(&rows, |a| (closing(a).baseline - closing(a).cost).0);
    let unknown = |a: &Attempt| closing(a).basis == Basis::Bound;
    let provisional = dollars(&rows, |a| match unknown(a) {
        true => closing(a).cost.0,
        false => 0,
    });
    assert!(provisional > 0.0 && cost > provisional);
    let near = |got: f64, expected: f64| (got - expected).abs() < 1e-9;
    let first = now();
    let before = read(&flyball).await;
    let last = now();
    // A midnight may lie within the test.
    let over = |metric: &str, periods: [&str; 2]| -> f64 {
        let of = |period: &str| before[&format!("{metric}{{period=\"{period}\"}}")];
        periods.into_iter().map(of).sum()
    };
    for periods in [
        ["today", "yesterday"],
        ["week", "last_week"],
        ["month", "last_month"],
    ] {
        let spent = over("flyball_books_cost_usd", periods);
        assert!(near(spent, cost), "{periods:?}: {spent} {cost}");
        let less = over("flyball_books_saved_usd", periods);
        assert!(near(less, saved), "{periods:?}: {less} {saved}");
    }
    assert!(near(before["flyball_provisional_usd"], provisional));
    assert!(near(before["flyball_ledger_attempts"], 5.0));
    assert!(before["flyball_ledger_bytes"] > 4_096.0);
    let pace = |hours: &str| {
        let labels =
            format!("cap=\"everything\",pace=\"{hours}\",scope=\"global\",window=\"month\"");
        before[&format!("flyball_cap_exhausted_timestamp_seconds{{{labels}}}")]
    };
    let left = (10.0 - cost) / cost * 3_600.0;
    for (hours, least, most) in [("1h", 1.0, 1.0), ("6h", 6.0, 7.0), ("3d", 72.0, 73.0)] {
        let (soonest, latest) = (first as f64 + left * least, last as f64 + left * most);
        let at = pace(hours);
        assert!(
            at > soonest - 2.0 && at < latest + 2.0,
            "{hours}: {soonest} {at} {latest}"
        );
    }
    let told = |all: &BTreeMap<String, f64>| {
        sum(
            all,
            "flyball_cap_exhausted_timestamp_seconds",
            &["m-none-*"],
        )
    };
    assert!(
        told(&before).abs() < 0.5,
        "where nothing is spent nothing is used up"
    );

    let flyball = Flyball::start_in(flyball.stop().await, &toml).await;
    let after = read(&flyball).await;
    let kept = [
        "flyball_books_",
        "flyball_provisional_usd",
        "flyball_ledger_attempts",
        "flyball_cap_spent_usd",
        "flyball_cap_limit_usd",
    ];
    let of_books = |all: &BTreeMap<String, f64>| -> BTreeMap<String, f64> {
        let ours = |name: &&String| kept.iter().any(|start| name.starts_with(start));
        let known = all.keys().filter(ours).cloned();
        known.map(|name| (name.clone(), all[&name])).collect()
    };
    assert!(of_books(&before).len() > 15);
    assert_eq!(of_books(&before), of_books(&after));
    let exhausted = "flyball_cap_exhausted_timestamp_seconds";
    assert_eq!(
        after
            .keys()
            .filter(|name| name.starts_with(exhausted))
            .count(),
        3,
        "each pace of the cap that is used"
    );
    assert!(
        near(sum(&after, "flyball_spend_usd_total", &[]), 0.0),
        "counters begin anew"
    );
}

#[tokio::test]
async fn a_full_cap_is_used_up_now() {
    let upstream = Upstream::start(answer(200, &chat(4_000, 700))).await;
    let cap = "[[cap]]\nname = \"little\"\nusd = 0.02\nwindow = \"month\"\n";
    let flyball = Flyball::start(&format!("{}{cap}", compatible(&upstream))).await;
    let asked = ask("m-small", "What is a lock?");
    let mut full = false;
    while !full {
        let answer = flyball.chat(&[], &asked).await;
        assert!([200, 402].contains(&answer.status), "{}", answer.body);
        full = answer.status == 402;
    }
    flyball.rows().await;
    let spent = sum(
        &samples(&flyball.metrics().await),
        "flyball_cap_spent_usd",
        &[],
    );
    let first = now();
    let all = read(&flyball).await;
    let at = |pace: &str| {
        let labels = format!("cap=\"little\",pace=\"{pace}\",scope=\"global\",window=\"month\"");
        all[&format!("flyball_cap_exhausted_timestamp_seconds{{{labels}}}")]
    };
    let rest = (0.02 - spent).max(0.0) / spent * 3_600.0;
    assert!(
        (at("1h") - first as f64 - rest).abs() < 60.0,
        "{} {spent}",
        at("1h")
    );
    assert!(at("1h") <= at("6h") && at("6h") <= at("3d"));
}
