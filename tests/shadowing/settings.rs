//! What the configuration says of shadows, and what it cannot.

use super::{ask, config, ended, has_ended, says, shadows};
use crate::flyball::{Flyball, compatible};
use crate::scripted::Upstream;

#[tokio::test]
async fn a_mistake_is_told_with_its_line() {
    let upstream = Upstream::start(says("Paris")).await;
    for (shadow, why) in [
        ("share = 0.1\n", "arm is missing"),
        ("arm = \"m-smal\"\n", "did you mean \"m-small\""),
        (
            "arms = [\"m-small\", \"m-big@max\"]\n",
            "does not take effort \"max\"",
        ),
        (
            "arm = \"m-small\"\njudge = \"m-bog\"\n",
            "did you mean \"m-big\"",
        ),
        (
            "arm = \"m-small\"\nshare = 1.5\n",
            "share 1.5 is not from 0 to 1",
        ),
        ("arm = \"m-small\"\ncap_window = \"year\"\n", "window"),
        ("arm = \"m-small\"\nshares = 0.1\n", "share"),
    ] {
        let toml = format!("{}\n[shadow]\n{shadow}", compatible(&upstream));
        let dir = tempfile::tempdir().expect("a folder");
        let Err(told) = Flyball::try_start(dir, &toml).await else {
            panic!("{shadow} is taken");
        };
        assert!(
            told.contains(why) && told.contains("flyball.toml:"),
            "{shadow}: {told}"
        );
    }
}

#[tokio::test]
async fn a_share_of_nothing_shadows_nothing_and_simulated_models_are_shadowed_by_their_like_alone()
{
    let upstream = Upstream::start(says("Paris")).await;
    let none = config(&upstream, "").replace("share = 1", "share = 0");
    let flyball = Flyball::start(&none).await;
    let body = ask("What is the capital of France?").to_string();
    assert_eq!(flyball.chat(&[], &body).await.status, 200);
    assert_eq!(ended(&flyball, "judged").await, 0);
    assert!(shadows(&flyball).await.is_empty());
    let both = format!("{}\n[simulate]\nspeed = 1000.0\n", config(&upstream, ""));
    let flyball = Flyball::start(&both).await;
    let simulated = body.replace("m-big", "sim-small");
    let got = flyball.chat(&[], &simulated).await;
    assert_eq!(got.header("x-flyball-simulated"), Some("1"), "{}", got.body);
    has_ended(&flyball, "unfit", 1).await;
    assert!(shadows(&flyball).await.is_empty());
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_was_asked_and_answered_is_kept_in_words_only_where_the_operator_says_so() {
    for keeps in [false, true] {
        let upstream = Upstream::start(says("Paris")).await;
        upstream.answers("m-small", says("Lyon"));
        let toml = config(&upstream, &format!("keep_prompts = {keeps}"));
        let flyball = Flyball::start(&toml).await;
        let body = ask("What is the capital of wombats?").to_string();
        flyball.chat(&[], &body).await;
        has_ended(&flyball, "judged", 1).await;
        flyball.flush().await;
        let file = flyball.data_dir().join("shadow-prompts.jsonl");
        let kept = std::fs::read_to_string(file).unwrap_or_default();
        assert_eq!(kept.lines().count(), usize::from(keeps));
        for word in ["wombats", "Paris", "Lyon"] {
            assert_eq!(kept.contains(word), keeps, "{word}: {kept}");
        }
    }
}
