//! What is confidential by what is in it stays on local models, whichever way it comes.

mod asking;
mod logs;
mod measured;
mod mixed;
mod recovering;

use crate::client::{self, Answer, get, post};
use crate::flyball::Flyball;
use crate::scripted::{Upstream, answer, chat};
use asking::{Asking, WAYS};

/// A provider elsewhere, under each of the kinds that a call may go to, and a local one.
pub fn config(cloud: &Upstream, local: &Upstream, privacy: &str) -> String {
    let away = cloud.url();
    let provider = |name: &str, kind: &str| {
        format!(
            "[[provider]]\nname = \"{name}\"\nkind = \"{kind}\"\nbase_url = \"{away}\"\nlocal = false\napi_key = \"file:key\"\n"
        )
    };
    let model = |name: &str, provider: &str, tier: &str| {
        format!(
            "[[model]]\nname = \"{name}\"\nprovider = \"{provider}\"\ntier = \"{tier}\"\nefforts = []\nlogprobs = true\ncontext_tokens = 100000\nanswer_tokens_max = 4000\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 10\n"
        )
    };
    [
        "probe = \"pays\"\n".to_owned(),
        privacy.to_owned(),
        provider("up", "openai"),
        provider("claude", "anthropic"),
        provider("google", "gemini"),
        model("m-small", "up", "small"),
        model("m-big", "up", "reasoning").replace("= 10\n", "= 900\n"),
        model("claude-x", "claude", "standard"),
        model("gemini-x", "google", "standard"),
        "[[model]]\nname = \"embed-x\"\nprovider = \"up\"\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 1\n".to_owned(),
        "[batch]\nkeep = false\n".to_owned(),
        format!("[[provider]]\nname = \"home\"\nkind = \"llamacpp\"\nbase_url = \"{}\"\n[[model]]\nname = \"own\"\nprovider = \"home\"\ntier = \"local\"\n", local.url()),
    ]
    .concat()
}

pub const DETECTS: &str = "[privacy]\ndetect = [\"cards\", \"ibans\", \"ids\", \"secrets\", \"own\"]\nwords = [\"Projekt Übermut\"]\npatterns = ['KD-\\d{6}']\n";

pub async fn start(cloud: &Upstream, local: &Upstream, privacy: &str) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    Flyball::start_in(dir, &config(cloud, local, privacy)).await
}

async fn two() -> (Upstream, Upstream) {
    let cloud = Upstream::start(answer(200, &chat(10, 5))).await;
    let local = Upstream::start(answer(200, &chat(10, 5))).await;
    (cloud, local)
}

async fn asked(flyball: &Flyball, asking: &Asking) -> Answer {
    let call = client::raw(flyball.at(), &asking.bytes()).await;
    call.answer().await
}

const CARD: &str = "4539 5787 6362 1486";

#[tokio::test]
async fn what_is_found_goes_nowhere_but_to_local_models_on_every_path() {
    let (cloud, local) = two().await;
    let flyball = start(&cloud, &local, DETECTS).await;
    for way in WAYS {
        for (value, class) in [
            (CARD, "cards"),
            ("DE44 5001 0517 5407 3249 31", "ibans"),
            ("DNI 93830094F", "ids"),
            ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "secrets"),
            ("Projekt Übermut", "own"),
            ("KD-123456", "own"),
        ] {
            let before = (cloud.count(), local.count());
            let asking = Asking::of(way, "auto", value);
            let got = asked(&flyball, &asking).await;
            let told = format!("{way:?} {class}: {} {}", got.status, got.body);
            assert_eq!(got.header("x-flyball-private"), Some(class), "{told}");
            assert_eq!(cloud.count(), before.0, "{told}");
            match way.stays() {
                true => assert_eq!((got.status, local.count()), (200, before.1 + 1), "{told}"),
                // A count is made here; what only a provider could do is refused.
                false if way.is_count() => assert_eq!(got.status, 200, "{told}"),
                false => refused(&got, class),
            }
            assert!(!got.body.contains(value), "{told}");
        }
        // The same without it goes out, or would: this is no test of nothing.
        let before = cloud.count();
        let got = asked(&flyball, &Asking::of(way, way.away(), "the weather")).await;
        assert_eq!(got.header("x-flyball-private"), None, "{way:?}");
        assert_eq!(cloud.count(), before + 1, "{way:?} {}", got.body);
        // A model elsewhere that is asked for by name gets none of it either.
        let got = asked(&flyball, &Asking::of(way, way.away(), CARD)).await;
        assert_eq!(cloud.count(), before + 1, "{way:?}");
        if !way.is_count() {
            refused(&got, "cards");
        }
    }
    let metrics = flyball.metrics().await;
    let counted = format!(
        "flyball_private_requests_total{{class=\"cards\"}} {}",
        2 * WAYS.len()
    );
    assert!(metrics.contains(&counted), "{metrics}");
}

/// Refused for privacy's sake, in whatever dialect: the class is told.
fn refused(got: &Answer, class: &str) {
    assert_eq!(got.status, 403, "{}", got.body);
    let told = format!("found in it: {class}.");
    assert!(got.body.contains(&told), "{}", got.body);
    assert_eq!(got.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn nothing_is_looked_for_unless_the_configuration_says_so() {
    let (cloud, local) = two().await;
    let flyball = start(&cloud, &local, "").await;
    for way in WAYS {
        let before = cloud.count();
        let got = asked(&flyball, &Asking::of(way, way.away(), CARD)).await;
        assert_eq!(
            (cloud.count(), got.header("x-flyball-private")),
            (before + 1, None),
            "{way:?}"
        );
    }
}

#[tokio::test]
async fn nobody_is_told_the_text_where_a_confidential_request_is_refused() {
    let (cloud, local) = two().await;
    let refuses = DETECTS.to_owned() + "action = \"refuse\"\n";
    let flyball = start(&cloud, &local, &refuses).await;
    for way in WAYS {
        let got = asked(&flyball, &Asking::of(way, "auto", CARD)).await;
        refused(&got, "cards");
        for text in [CARD, "4539", "1486"] {
            assert!(
                !got.body.contains(text) && !got.head.contains(text),
                "{}",
                got.body
            );
        }
    }
    assert_eq!((cloud.count(), local.count()), (0, 0));
    let decisions = get(flyball.running.admin, "/admin/v1/decisions", &[])
        .await
        .body;
    let metrics = flyball.metrics().await;
    for told in [&decisions, &metrics] {
        assert!(!told.contains("4539"), "{told}");
    }
    assert!(flyball.rows().await.is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_follow_up_is_as_confidential_as_what_it_follows() {
    let (cloud, local) = two().await;
    let flyball = start(&cloud, &local, DETECTS).await;
    let mut messages =
        vec![serde_json::json!({"role": "user", "content": format!("My card is {CARD}.")})];
    for turn in 1..4 {
        let body = serde_json::json!({"model": "auto", "messages": messages}).to_string();
        let got = flyball.chat(&[], &body).await;
        assert_eq!(
            (got.status, got.header("x-flyball-model")),
            (200, Some("own"))
        );
        assert_eq!((cloud.count(), local.count()), (0, turn));
        messages.push(serde_json::json!({"role": "assistant", "content": "hi there"}));
        messages.push(serde_json::json!({"role": "user", "content": "Thanks! And what is 2 + 2?"}));
    }
}

#[tokio::test]
async fn where_no_local_model_answers_a_confidential_request_ends() {
    let cloud = Upstream::start(answer(200, &chat(10, 5))).await;
    let nobody = crate::scripted::Nobody::new();
    let down = Upstream::start(answer(503, "{}")).await;
    let local = config(&cloud, &down, DETECTS).replace(&down.url(), &nobody.url());
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    let flyball = Flyball::start_in(dir, &local).await;
    let got = asked(&flyball, &Asking::of(WAYS[0], "auto", CARD)).await;
    assert_eq!(
        (got.status, got.header("x-flyball-private")),
        (502, Some("cards")),
        "{}",
        got.body
    );
    assert_eq!(cloud.count(), 0);
}

#[tokio::test]
async fn a_rule_may_ask_what_was_found() {
    let (cloud, local) = two().await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    std::fs::create_dir(dir.path().join("rules")).expect("a folder");
    let rules = "[[rule]]\nname = \"cards go big\"\nwhy = \"a test\"\nwhen = { detected = [\"cards\", \"ids\"] }\nroute = { arm = \"m-big\" }\nexamples = [\"pay with 4539578763621486\"]\n";
    std::fs::write(dir.path().join("rules/own.toml"), rules).expect("a file");
    let flyball = Flyball::start_in(dir, &config(&cloud, &local, "")).await;
    let got = asked(&flyball, &Asking::of(WAYS[0], "auto", CARD)).await;
    assert_eq!(
        got.header("x-flyball-rule"),
        Some("cards go big"),
        "{}",
        got.body
    );
    assert_eq!(got.header("x-flyball-private"), Some("cards"));
    // No configuration makes it confidential: a cheaper model elsewhere may have been asked first.
    assert!(cloud.count() > 0 && local.count() == 0);
    let got = asked(&flyball, &Asking::of(WAYS[0], "auto", "the weather")).await;
    assert_ne!(got.header("x-flyball-rule"), Some("cards go big"));
}

#[tokio::test]
async fn values_of_documentation_and_what_cannot_be_read_follow_the_settings() {
    let (cloud, local) = two().await;
    let pdf = format!(
        "data:application/pdf;base64,JVBERi0xLjcK{}",
        "QUJD".repeat(60)
    );
    for (more, value, found) in [
        ("", "4242 4242 4242 4242", Some("cards")),
        ("examples = false\n", "4242 4242 4242 4242", None),
        ("at_least = 2\n", CARD, None),
        (
            "at_least = 2\n",
            "4539 5787 6362 1486, 4242 4242 4242 4242",
            Some("cards"),
        ),
        ("", &pdf, Some("unread")),
        ("unread = \"pass\"\n", &pdf, None),
    ] {
        let flyball = start(&cloud, &local, &(DETECTS.to_owned() + more)).await;
        let got = asked(&flyball, &Asking::of(WAYS[0], "auto", value)).await;
        assert_eq!(got.header("x-flyball-private"), found, "{more} {value}");
    }
    let tokens = "{\"model\":\"embed-x\",\"input\":[[1820, 24, 7]]}";
    let flyball = start(&cloud, &local, DETECTS).await;
    let got = post(flyball.at(), "/v1/embeddings", &[], tokens).await;
    refused(&got, "unread");
}

#[tokio::test]
async fn what_is_wrong_with_the_settings_is_told_with_its_line_and_advice() {
    let (cloud, local) = two().await;
    for (privacy, told) in [
        (
            "[privacy]\ndetect = [\"crads\"]\n",
            "unknown class \"crads\"; did you mean \"cards\"?",
        ),
        ("[privacy]\n", "nothing is to be detected; write detect = "),
        (
            "[privacy]\ndetect = [\"own\"]\n",
            "there are no words of your own; add words, words_file or patterns",
        ),
        (
            "[privacy]\ndetect = [\"cards\"]\nwords = [\"x\"]\n",
            "nothing looks for them; add \"own\" to detect",
        ),
        (
            "[privacy]\ndetect = [\"own\"]\npatterns = [\"sekret(\"]\n",
            "patterns: unclosed group; write a regular expression",
        ),
        (
            "[privacy]\ndetect = [\"own\"]\npatterns = [\"x*\"]\n",
            "patterns: it is like every text",
        ),
        (
            "[privacy]\ndetect = [\"own\"]\npatterns = ['(?:\\w{1000}){1000}']\n",
            "patterns: it is too large",
        ),
        (
            "[privacy]\ndetect = [\"own\"]\nwords_file = \"none.txt\"\n",
            "words_file: ",
        ),
        (
            "[privacy]\ndetect = [\"cards\"]\nat_least = 0\n",
            "at_least must be at least 1",
        ),
        (
            "[privacy]\ndetect = [\"cards\"]\nmany = 5000\n",
            "many is at most 1000",
        ),
        (
            "[privacy]\ndetect = [\"cards\"]\naction = \"block\"\n",
            "unknown action \"block\"; use one of: local, refuse",
        ),
        (
            "[privacy]\ndetect = [\"cards\"]\nunread = \"no\"\n",
            "unknown way \"no\"; use one of: private, pass",
        ),
        (
            "[privacy]\ndetect = [\"cards\"]\nexample = true\n",
            "unknown key \"example\"; did you mean \"examples\"?",
        ),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
        let toml = config(&cloud, &local, privacy);
        let Err(why) = Flyball::try_start(dir, &toml).await else {
            panic!("{privacy} was taken");
        };
        assert!(
            why.contains("flyball.toml:") && why.contains(told),
            "{privacy}: {why}"
        );
        assert!(!why.contains("sekret"), "{why}");
    }
}
