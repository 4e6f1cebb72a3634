//! Whose answer may be given to whom: the least difference in what is asked, and any in who may see it, makes another answer.

use super::{ON, USE, body, good, had, start};
use crate::client::post;
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Upstream, answer, chat};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const CARD: &str = "My card is 4539 5787 6362 1486.";

fn rich() -> Value {
    json!({
        "model": "m-small", "temperature": 0.5, "seed": 7, "max_tokens": 300,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "What is in it?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
            ]},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}}}],
    })
}

#[tokio::test]
async fn whatever_is_asked_otherwise_is_another_answer() {
    let upstream = Upstream::start(good(false)).await;
    let models = compatible(&upstream).replace("efforts = []", "efforts = []\nimages = true");
    let flyball = Flyball::start(&format!("{models}{ON}")).await;
    let first = flyball.chat(&[USE], &rich().to_string()).await;
    assert_eq!((first.status, had(&first)), (200, "miss"), "{}", first.body);
    let change = |at: &str, to: Value| {
        let mut body = rich();
        *body.pointer_mut(at).expect(at) = to;
        body.to_string()
    };
    let mut more = rich();
    more["user"] = json!("somebody");
    let png = "/messages/1/content/1/image_url/url";
    let swapped = rich().to_string().replace(
        r#"{"a":{"type":"string"},"b":{"type":"string"}}"#,
        r#"{"b":{"type":"string"},"a":{"type":"string"}}"#,
    );
    assert_ne!(swapped, rich().to_string());
    for (what, body) in [
        ("temperature", change("/temperature", json!(0.6))),
        ("seed", change("/seed", json!(8))),
        ("limit", change("/max_tokens", json!(301))),
        ("system", change("/messages/0/content", json!("Be long."))),
        (
            "medium",
            change(png, json!("data:image/png;base64,iVBORw0KGgp=")),
        ),
        ("tool", change("/tools/0/function/name", json!("see"))),
        ("schema", swapped),
        ("model", change("/model", json!("m-big"))),
        ("user", more.to_string()),
    ] {
        let got = flyball.chat(&[USE], &body).await;
        assert_eq!(
            (got.status, had(&got)),
            (200, "miss"),
            "{what} {}",
            got.body
        );
    }
    let text = rich().to_string();
    for (header, value) in [
        ("x-flyball-effort", "none"),
        ("x-flyball-objective", "best"),
        ("openai-beta", "assistants=v9"),
    ] {
        let got = flyball.chat(&[USE, (header, value)], &text).await;
        assert_eq!((got.status, had(&got)), (200, "miss"), "{header}");
    }
    let beta = post(
        flyball.at(),
        &format!("{CHAT}?api-version=2"),
        &[USE],
        &text,
    )
    .await;
    assert_eq!(had(&beta), "miss");
    // What is only written otherwise is the same.
    let spaced = serde_json::to_string_pretty(&rich()).expect("JSON");
    for headers in [
        &[USE, ("user-agent", "another"), ("traceparent", "00-1-2-01")][..],
        &[USE, ("x-flyball-tags", "run=5"), ("x-flyball-session", "s")],
    ] {
        let got = flyball.chat(headers, &spaced).await;
        assert_eq!((had(&got), &got.body), ("hit", &first.body));
    }
}

#[tokio::test]
async fn a_stream_is_not_given_for_a_whole_answer() {
    let upstream = Upstream::start(good(false)).await;
    let flyball = start(&upstream, ON).await;
    assert_eq!(had(&flyball.chat(&[USE], &body(false)).await), "miss");
    upstream.next(good(true));
    let streamed = flyball.chat(&[USE], &body(true)).await;
    assert_eq!(had(&streamed), "miss");
    assert!(streamed.body.contains("[DONE]"));
}

#[tokio::test]
async fn a_key_gets_another_ones_answer_only_where_the_configuration_says_so() {
    for (share, same_team, other_team) in [
        ("", false, false),
        ("share = \"key\"", false, false),
        ("share = \"team\"", true, false),
        ("share = \"all\"", true, true),
    ] {
        let upstream = Upstream::start(good(false)).await;
        let dir = tempfile::tempdir().expect("a folder");
        for (name, team) in [
            ("a", "red"),
            ("b", "red"),
            ("c", "blue"),
            ("d", ""),
            ("e", ""),
        ] {
            make_key(&dir, name, None, |key| key.team = team.to_owned());
        }
        let toml = format!("{}\n{ON}{share}\n", compatible(&upstream));
        let flyball = Flyball::start_in(dir, &toml).await;
        let ask = async |key: &str, path: &str, body: &str| {
            let bearer = format!("Bearer fb_{key}");
            let headers = [("authorization", &*bearer), USE];
            let got = post(flyball.at(), path, &headers, body).await;
            assert_eq!(got.status, 200, "{}", got.body);
            had(&got).to_owned()
        };
        let hit = |shared: bool| if shared { "hit" } else { "miss" };
        assert_eq!(ask("a", CHAT, &body(false)).await, "miss");
        assert_eq!(ask("a", CHAT, &body(false)).await, "hit");
        assert_eq!(
            ask("b", CHAT, &body(false)).await,
            hit(same_team),
            "{share}"
        );
        assert_eq!(
            ask("c", CHAT, &body(false)).await,
            hit(other_team),
            "{share}"
        );
        // Keys without a team are none together.
        assert_eq!(
            ask("d", CHAT, &body(false)).await,
            hit(other_team),
            "{share}"
        );
        assert_eq!(
            ask("e", CHAT, &body(false)).await,
            hit(other_team),
            "{share}"
        );
        // Who was answered may name that answer by its id, and nobody else can.
        let kept = json!({"model": "m-small", "input": "Name a river."}).to_string();
        let unkept = json!({"model": "m-small", "input": "Name a river.", "store": false});
        let unkept = unkept.to_string();
        assert_eq!(ask("a", "/v1/responses", &kept).await, "miss");
        assert_eq!(ask("b", "/v1/responses", &kept).await, "miss", "{share}");
        assert_eq!(ask("a", "/v1/responses", &unkept).await, "miss");
        assert_eq!(
            ask("b", "/v1/responses", &unkept).await,
            hit(same_team),
            "{share}"
        );
    }
}

#[tokio::test]
async fn a_key_is_not_given_the_answer_of_a_model_that_it_may_not_use() {
    let upstream = Upstream::start(good(false)).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "free", None, |_| {});
    make_key(&dir, "held", None, |key| key.models = vec!["m-big".into()]);
    let toml = format!("{}\n{ON}share = \"all\"\n", compatible(&upstream));
    let flyball = Flyball::start_in(dir, &toml).await;
    let free = [("authorization", "Bearer fb_free"), USE];
    let held = [("authorization", "Bearer fb_held"), USE];
    let auto = body(false)
        .replace("m-small", "auto")
        .replace("Name a river.", "What is the capital of France?");
    let first = flyball.chat(&free, &auto).await;
    assert_eq!(
        (had(&first), first.header("x-flyball-model")),
        ("miss", Some("m-small"))
    );
    let second = flyball.chat(&held, &auto).await;
    assert_eq!((second.status, had(&second)), (200, "bypass"));
    assert_eq!(second.header("x-flyball-model"), Some("m-big"));
    // By its name it is refused, whatever is kept.
    assert_eq!(flyball.chat(&free, &body(false)).await.status, 200);
    let refused = flyball.chat(&held, &body(false)).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
}

#[tokio::test]
async fn who_is_not_known_gets_nothing_of_what_is_kept() {
    let upstream = Upstream::start(good(false)).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", None, |_| {});
    make_key(&dir, "gone", None, |key| key.expires = Some(2));
    make_key(&dir, "still", None, |key| key.paused = true);
    let toml = format!("{}\n{ON}share = \"all\"\n", compatible(&upstream));
    let flyball = Flyball::start_in(dir, &toml).await;
    let app = [("authorization", "Bearer fb_app"), USE];
    assert_eq!(had(&flyball.chat(&app, &body(false)).await), "miss");
    assert_eq!(had(&flyball.chat(&app, &body(false)).await), "hit");
    for (headers, status) in [
        (&[USE][..], 401),
        (&[USE, ("authorization", "Bearer fb_gone")], 401),
        (&[USE, ("authorization", "Bearer fb_still")], 403),
    ] {
        let refused = flyball.chat(headers, &body(false)).await;
        assert_eq!((refused.status, had(&refused)), (status, "nothing"));
    }
}

#[tokio::test]
async fn what_is_confidential_is_never_kept_and_never_given() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let local = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "open", None, |_| {});
    make_key(&dir, "closed", None, |key| key.private = true);
    let home = format!(
        "[[provider]]\nname = \"home\"\nkind = \"llamacpp\"\nbase_url = \"{}\"\n[[model]]\nname = \"own\"\nprovider = \"home\"\ntier = \"local\"\n",
        local.url()
    );
    // Mail addresses are seen by a rule, and make nothing confidential: they are not kept all the same.
    let toml = format!(
        "rules = \"own\"\n{}\n{home}{ON}share = \"all\"\n[privacy]\ndetect = [\"cards\"]\nmany = 1\n",
        compatible(&upstream)
    );
    let rules = dir.path().join("own");
    std::fs::create_dir(&rules).expect("a folder");
    std::fs::write(
        rules.join("1.toml"),
        "[[rule]]\nname = \"mail\"\nwhy = \"w\"\nwhen = { detected = \"emails\" }\nroute = { tier = \"small\", cache = true }\n",
    )
    .expect("a file");
    let flyball = Flyball::start_in(dir, &toml).await;
    let (open, closed) = (
        ("authorization", "Bearer fb_open"),
        ("authorization", "Bearer fb_closed"),
    );
    let said = |model: &str, text: &str| {
        json!({"model": model, "messages": [{"role": "user", "content": text}]}).to_string()
    };
    for (what, headers, body) in [
        (
            "a header",
            vec![open, USE, ("x-flyball-privacy", "local")],
            said("own", "Hello"),
        ),
        ("a key", vec![closed, USE], said("own", "Hello")),
        ("a card", vec![open, USE], said("own", CARD)),
        ("a card, routed", vec![open, USE], said("auto", CARD)),
        (
            "an address",
            vec![open, USE],
            said("auto", "Write to anna.berg@example.org please."),
        ),
    ] {
        let first = flyball.chat(&headers, &body).await;
        let second = flyball.chat(&headers, &body).await;
        for got in [first, second] {
            assert_eq!(
                (got.status, had(&got)),
                (200, "bypass"),
                "{what} {}",
                got.body
            );
        }
    }
    // The same words without the mark are another request, and what that leaves is not given to the marked one.
    let plain = said("own", "Hello");
    assert_eq!(had(&flyball.chat(&[open, USE], &plain).await), "miss");
    assert_eq!(had(&flyball.chat(&[open, USE], &plain).await), "hit");
    for headers in [
        [closed, USE, ("x-mine", "1")],
        [open, USE, ("x-flyball-privacy", "local")],
    ] {
        assert_eq!(had(&flyball.chat(&headers, &plain).await), "bypass");
    }
    let cache = flyball.running.state.response_cache.load();
    assert_eq!(cache.as_ref().map(|cache| cache.figures().entries), Some(1));
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_does_more_than_answer_is_done_each_time() {
    let upstream = Upstream::start(good(false)).await;
    let models = compatible(&upstream).replace("openai-compatible", "openai");
    let flyball = Flyball::start(
        &format!(
            "{}{ON}",
            models.replace(
                "kind = \"openai\"\n",
                "kind = \"openai\"\napi_key = \"file:key\"\nlocal = false\n"
            )
        )
        .replace("api_key = \"file:key\"\n", ""),
    )
    .await;
    for body in [
        json!({"model": "m-small", "input": "Name a river.", "conversation": "conv_1"}),
        json!({"model": "m-small", "input": "Name a river.", "background": true}),
    ] {
        for _ in 0..2 {
            upstream.only(answer(200, r#"{"id":"resp_1","object":"response","status":"completed","model":"m","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Rhine"}]}],"usage":{"input_tokens":10,"output_tokens":5,"total_tokens":15}}"#));
            let got = post(flyball.at(), "/v1/responses", &[USE], &body.to_string()).await;
            assert_eq!(
                (got.status, had(&got)),
                (200, "bypass"),
                "{body} {}",
                got.body
            );
        }
    }
    assert_eq!(upstream.count(), 4);
}
