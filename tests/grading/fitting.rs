//! `flyball fit`, `eval` and `train` as a person runs them, and what an overlay does in a running proxy.

use crate::until::ran;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

fn run(dir: &Path, args: &[&str], input: &str) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    command.env_clear().current_dir(dir).args(args);
    let out = ran(&format!("{args:?} ends"), &mut command, input);
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (out.status.success(), text(&out.stdout), text(&out.stderr))
}

/// Tickets of a made-up shop: those about refunds gain from thinking, the others do not. The grader cannot know that.
fn ticket(n: usize) -> (String, bool) {
    let goods = [
        "kettle", "lamp", "chair", "sofa", "mirror", "clock", "carpet",
    ][n % 7];
    let days = n % 29 + 2;
    let refund = n.is_multiple_of(3);
    let ask = if refund {
        format!(
            "Ticket {n}: the customer wants a refund for the {goods} after {days} days. What do we answer?"
        )
    } else {
        format!(
            "Ticket {n}: the customer asks where the {goods} is, ordered {days} days ago. What do we answer?"
        )
    };
    (ask, refund)
}

fn outcomes(count: usize, gain: impl Fn(usize, bool) -> (f64, f64)) -> String {
    let mut lines = String::new();
    for n in 0..count {
        let (prompt, refund) = ticket(n);
        let (weak, strong) = gain(n, refund);
        let _ = writeln!(
            lines,
            "{}",
            json!({"prompt": prompt, "scores": {"little": weak, "big": strong}})
        );
    }
    lines
}

const FIT: [&str; 7] = [
    "fit", "--weak", "little", "--strong", "big", "--out", "own.json",
];

fn fit(dir: &Path, outcomes: &str) -> (bool, String, String) {
    std::fs::write(dir.join("own.jsonl"), outcomes).expect("a file");
    run(dir, &[&FIT[..], &["--outcomes", "own.jsonl"]].concat(), "")
}

#[test]
fn an_overlay_learns_what_the_grader_cannot_know_and_says_how_sure_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ok, said, err) = fit(
        dir.path(),
        &outcomes(
            150,
            |_, refund| if refund { (0.0, 1.0) } else { (1.0, 1.0) },
        ),
    );
    assert!(ok && said.starts_with("Used, at 100 %"), "{said}{err}");
    let asks: String = (1_000..1_030).fold(String::new(), |mut all, n| {
        let _ = writeln!(all, "{}", json!({"id": n, "prompt": ticket(n).0}));
        all
    });
    let (ok, plain, _) = run(dir.path(), &["classify", "--jsonl"], &asks);
    assert!(
        ok && plain
            .lines()
            .all(|l| l.contains("\"gain\"") && l.contains("\"failure\"")),
        "gain and failure are told without --fit too"
    );
    let (ok, told, err) = run(
        dir.path(),
        &["classify", "--jsonl", "--fit", "own.json"],
        &asks,
    );
    assert!(ok, "{err}");
    let gain = |refund: bool| {
        let rows = told
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).expect("JSON"));
        let of = rows.filter(move |r| {
            let n = usize::try_from(r["id"].as_u64().expect("a number")).expect("small");
            ticket(n).1 == refund
        });
        of.map(|r| r["gain"].as_f64().expect("a gain"))
            .collect::<Vec<_>>()
    };
    let least = gain(true).into_iter().fold(1.0, f64::min);
    let most = gain(false).into_iter().fold(-1.0, f64::max);
    assert!(
        least > most + 0.3,
        "refunds gain {least} at least, others {most} at most"
    );
}

#[test]
fn an_overlay_that_proves_nothing_is_not_used_and_says_why() {
    let dir = tempfile::tempdir().expect("a folder");
    // Whether it gains is a coin's toss that no word tells.
    let toss = |n: usize| (n * 2_654_435_761) >> 7 & 1 == 0;
    let (ok, said, err) = fit(
        dir.path(),
        &outcomes(120, |n, _| if toss(n) { (0.0, 1.0) } else { (1.0, 1.0) }),
    );
    assert!(ok && said.starts_with("Not used:"), "{said}{err}");
    let file: Value = serde_json::from_str(
        &std::fs::read_to_string(dir.path().join("own.json")).expect("written"),
    )
    .expect("JSON");
    assert_eq!(
        (
            &file["used"],
            file["words"].as_object().map(serde_json::Map::len)
        ),
        (&json!(false), Some(0))
    );
}

#[test]
fn preferences_and_thumbs_are_outcomes_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut lines = String::new();
    for n in 0..80 {
        let (prompt, refund) = ticket(n);
        let better = if refund { "big" } else { "tie" };
        let _ = writeln!(
            lines,
            "{}",
            json!({"prompt": prompt, "preferred": better, "models": ["little", "big"]})
        );
    }
    let (ok, said, err) = fit(dir.path(), &lines);
    assert!(ok && said.starts_with("Used"), "{said}{err}");
    let mut lines = String::new();
    for n in 0..80 {
        let (prompt, refund) = ticket(n);
        let thumb = if refund { "down" } else { "up" };
        let _ = writeln!(
            lines,
            "{}",
            json!({"prompt": prompt, "model": "little", "thumb": thumb})
        );
    }
    let _ = writeln!(
        lines,
        "{}",
        json!({"prompt": "x", "model": "big", "thumb": "up"})
    );
    let (ok, said, err) = fit(dir.path(), &lines);
    assert!(
        ok && said.contains("failures of the weak model"),
        "{said}{err}"
    );
}

#[test]
fn wrong_outcomes_are_told_with_file_and_line() {
    let dir = tempfile::tempdir().expect("a folder");
    for (lines, told) in [
        (
            "{\"prompt\": \"a\"}\n",
            "own.jsonl:1: it has neither \"scores\"",
        ),
        (
            "\n{\"prompt\": \"a\", \"scores\": {\"little\": 2, \"big\": 1}}\n",
            "own.jsonl:2: the score 2 of \"little\" is not between 0 and 1",
        ),
        ("{\"prompt\": \"a\", \"scores\": ", "own.jsonl:1: EOF"),
        (
            "{\"prompt\": \"a\", \"preferred\": \"c\", \"models\": [\"little\", \"big\"]}\n",
            "own.jsonl:1: \"c\" is neither",
        ),
        (
            "{\"prompt\": \"a\", \"scores\": {\"little\": 1, \"tiny\": 1}}\n",
            "no outcome has a score of \"big\"; there are scores of little, tiny",
        ),
        (
            "{\"prompt\": \"a\", \"scores\": {\"little\": 1, \"big\": 1}}\n",
            "there are 1 outcomes in which the weak model has a score; 20 are the least",
        ),
    ] {
        let (ok, _, err) = fit(dir.path(), lines);
        assert!(!ok && err.contains(told), "{lines}: {err}");
    }
    let (ok, _, err) = run(dir.path(), &["classify", "--fit", "none.json", "hello"], "");
    assert!(!ok && err.contains("none.json"), "{err}");
}

#[test]
fn weights_from_a_file_grade_in_place_of_the_built_in_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/src/data/grader.bin");
    let asked = "Prove that 2 is the only even prime.";
    let (_, built_in, _) = run(dir.path(), &["classify", "--json", asked], "");
    let (ok, same, err) = run(
        dir.path(),
        &["classify", "--json", "--weights", shipped, asked],
        "",
    );
    assert!(ok && same == built_in, "{err}");
    std::fs::write(dir.path().join("other"), "weights").expect("a file");
    let (ok, _, err) = run(dir.path(), &["classify", "--weights", "other", asked], "");
    assert!(!ok && err.starts_with("other: "), "{err}");
}

#[test]
fn eval_sets_the_grader_beside_length_chance_and_the_oracle() {
    let dir = tempfile::tempdir().expect("a folder");
    let learned = outcomes(90, |_, refund| if refund { (0.0, 1.0) } else { (1.0, 1.0) });
    assert!(fit(dir.path(), &learned).0);
    let (ok, told, err) = run(
        dir.path(),
        &[
            "eval",
            "--outcomes",
            "own.jsonl",
            "--weak",
            "little",
            "--strong",
            "big",
            "--fit",
            "own.json",
            "--chart",
            "curve.svg",
            "--json",
        ],
        "",
    );
    assert!(ok, "{err}");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let apgr = |router: &str| {
        told[0]["routers"][router]["apgr"]
            .as_f64()
            .expect("a figure")
    };
    assert!(apgr("after fit") > 0.75 && apgr("oracle") > 0.75, "{told}");
    assert!((apgr("random") - 0.5).abs() < 0.15, "{told}");
    let chart = std::fs::read_to_string(dir.path().join("curve.svg")).expect("drawn");
    assert!(chart.starts_with("<svg") && chart.contains("after fit"));
    let (ok, table, _) = run(
        dir.path(),
        &[
            "eval",
            "--outcomes",
            "own.jsonl",
            "--weak",
            "little",
            "--strong",
            "big",
        ],
        "",
    );
    assert!(
        ok && table.contains("length") && table.contains("CPT80"),
        "{table}"
    );
}

#[test]
fn the_same_inputs_make_the_same_weights() {
    let dir = tempfile::tempdir().expect("a folder");
    let recipe = json!({"about": "a test", "seed": 3, "sources": [{
        "name": "shop", "weak": "little", "strong": "big", "weak_models": ["little"], "strong_models": ["big"], "answer": "big",
    }]});
    std::fs::write(dir.path().join("recipe.json"), recipe.to_string()).expect("a file");
    let mut lines = String::new();
    for n in 0..200 {
        let (prompt, refund) = ticket(n);
        let weak = f64::from(u8::from(!refund));
        let row = json!({"source": "shop", "task": format!("t{}", n % 10), "prompt": prompt, "scores": {"little": weak, "big": 1.0}, "outchars": {"big": 100 + n}});
        let _ = writeln!(lines, "{row}");
    }
    std::fs::write(dir.path().join("all.jsonl"), lines).expect("a file");
    let asks = "{\"prompt\": \"Translate: hello\", \"task\": \"translate\", \"hard\": 0}\n{\"prompt\": \"Prove it\", \"task\": \"maths\", \"hard\": 1}\n";
    std::fs::write(dir.path().join("asks.jsonl"), asks).expect("a file");
    let train = |out: &str| {
        let args = [
            "train",
            "--recipe",
            "recipe.json",
            "--outcomes",
            "all.jsonl",
            "--asks",
            "asks.jsonl",
            "--out",
            out,
        ];
        let (ok, card, err) = run(dir.path(), &args, "");
        assert!(ok && card.contains("\"inputs_sha256\""), "{card}{err}");
        std::fs::read(dir.path().join(out)).expect("written")
    };
    let weights = train("a.bin");
    assert_eq!(weights, train("b.bin"));
    assert!(weights.starts_with(b"flyballG"));
}

/// Where the outcomes are at hand, the weights in the repository are exactly what the recorded command makes.
#[test]
fn the_embedded_weights_are_what_the_recorded_command_makes() {
    let Some(shared) = std::env::var_os("FLYBALL_SHARED") else {
        let in_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!in_ci, "FLYBALL_SHARED must name the outcomes in CI");
        println!("skipped: the outcomes are not in the repository (FLYBALL_SHARED is unset)");
        return;
    };
    let outcomes = Path::new(&shared).join("routing/dev.jsonl.gz");
    let dir = tempfile::tempdir().expect("a folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let asks = root.join("src/data/asks.jsonl");
    let args = [
        "train",
        "--outcomes",
        outcomes.to_str().expect("a path"),
        "--asks",
        asks.to_str().expect("a path"),
        "--out",
        "again.bin",
    ];
    let (ok, _, err) = run(dir.path(), &args, "");
    assert!(ok, "{err}");
    let again = std::fs::read(dir.path().join("again.bin")).expect("written");
    let shipped = std::fs::read(root.join("src/data/grader.bin")).expect("shipped");
    assert!(
        again == shipped,
        "src/data/grader.bin is not what `flyball train` makes of these inputs"
    );
}
