use super::*;
use crate::dialect::named;

const OPUS: &str = "claude-opus-5";
const ASTRA: &str = "gpt-6-astra";

fn anthropic() -> InBand {
    let dialect = named("anthropic_messages").expect("a dialect");
    InBand::of(dialect, "anthropic", OPUS).expect("it takes them")
}

fn openai() -> InBand {
    let dialect = named("openai_responses").expect("a dialect");
    InBand::of(dialect, "openai", ASTRA).expect("it takes them")
}

fn change(at: usize, effort: Effort) -> Change {
    Change { at, effort }
}

/// What goes out, for a conversation that began with low effort.
fn said(way: InBand, body: &str, changes: &[Change]) -> Option<String> {
    let body = Bytes::from(body.to_owned());
    let said = way.write(&body, Some(Effort::Low), changes, &HeaderMap::new())?;
    // The vendor is asked for it exactly where something in the body needs it.
    let update = said.body.windows(7).filter(|w| w == b"effort\"").count() > 1;
    let asked = said.header.is_some();
    assert_eq!(asked, update && way.list == "messages");
    Some(String::from_utf8(said.body.to_vec()).expect("text"))
}

/// Everything of a request but the end of its conversation: what the next one has to begin with.
fn prefix(body: &str) -> &str {
    let end = body.rfind(']').expect("a conversation");
    body[..end].trim_end()
}

const LOW: &str = r#"{"role":"system","content":[],"output_config":{"effort":"low"}}"#;
const HIGH: &str = r#"{"role":"system","content":[],"output_config":{"effort":"high"}}"#;
const RAISED: &str = r#"{"type":"configuration_update","reasoning":{"effort":"high"}}"#;
const LOWERED: &str = r#"{"type":"configuration_update","reasoning":{"effort":"low"}}"#;

/// Three requests of one conversation, each with what was said since, and the change that the second one makes.
fn in_three(way: InBand, requests: [&str; 3], place: usize, entry: &str) {
    let [first, second, third] = requests;
    // Without a change it says the effort of the beginning, and not another byte is touched.
    let began = said(way, first, &[]).expect("it can be said");
    assert_eq!(began, first.replace("\"medium\"", "\"low\""));
    assert_eq!(way.place(second.as_bytes()), Some(place));
    let raised = [change(place, Effort::High)];
    let second = said(way, second, &raised).expect("it can be said");
    let third = said(way, third, &raised).expect("it can be said");
    assert_eq!(second.matches(entry).count(), 1, "{second}");
    assert_eq!(third.matches(entry).count(), 1, "{third}");
    for (before, after) in [(&began, &second), (&second, &third)] {
        assert!(
            after.starts_with(prefix(before)),
            "{before}\n{after}\nare not of one conversation"
        );
        serde_json::from_str::<serde_json::Value>(after).expect("JSON");
    }
}

#[test]
fn every_request_of_a_conversation_begins_with_the_one_before_it() {
    let body = |messages: &str| {
        format!(
            r#"{{"model":"m","output_config":{{"effort":"medium"}}, "messages": [ {messages} ]}}"#
        )
    };
    let one = r#"{"role":"user","content":"Plan \"it\"."}"#;
    let two = r#"{"role":"assistant","content":[{"type":"thinking","signature":"s"}]},
        {"role" : "user", "content" : "Now."}"#;
    let three = r#"{"role":"assistant","content":"Done."} , {"role":"user","content":"Why?"}"#;
    in_three(
        anthropic(),
        [
            &body(one),
            &body(&format!("{one}, {two}")),
            &body(&format!("{one}, {two}, {three}")),
        ],
        3,
        HIGH,
    );
    let body = |items: &str| {
        format!(r#"{{"model":"m","reasoning":{{"effort":"medium"}}, "input": [ {items} ]}}"#)
    };
    let one = r#"{"role":"user","content":"Plan \"it\"."}"#;
    let two = r#"{"type":"reasoning","encrypted_content":"e"},
        {"type":"message","role":"assistant","content":[]} , {"role" : "user", "content" : "Now."}"#;
    let three =
        r#"{"role":"assistant","content":"Done."},{"type":"message","role":"user","content":"?"}"#;
    in_three(
        openai(),
        [
            &body(one),
            &body(&format!("{one}, {two}")),
            &body(&format!("{one}, {two}, {three}")),
        ],
        3,
        RAISED,
    );
}

#[test]
fn which_models_take_it() {
    for (kind, model, dialect, taken) in [
        ("anthropic", OPUS, "anthropic_messages", true),
        ("anthropic", "claude-opus-5-5", "anthropic_messages", true),
        ("anthropic", "Claude-Fable-5-1", "anthropic_messages", true),
        ("anthropic", "claude-mythos-5-2", "anthropic_messages", true),
        ("anthropic", "claude-fable-5", "anthropic_messages", false),
        (
            "anthropic",
            "claude-fable-5-20260901",
            "anthropic_messages",
            false,
        ),
        ("anthropic", "claude-sonnet-5", "anthropic_messages", false),
        ("anthropic", "claude-opus-4-8", "anthropic_messages", false),
        ("deepseek", "deepseek-v4", "anthropic_messages", false),
        ("openai", ASTRA, "openai_responses", true),
        ("openai", "gpt-6.1-sol", "openai_responses", true),
        ("openai", "gpt-6-astra-pro", "openai_responses", false),
        ("openai", "gpt-5.6", "openai_responses", false),
        ("azure", ASTRA, "openai_responses", false),
        ("openrouter", "openai/gpt-6-sol", "openai_responses", true),
        (
            "openrouter",
            "openai/gpt-6-sol-pro",
            "openai_responses",
            false,
        ),
        // Chat Completions has no way to say it, whoever the model is.
        ("openai", ASTRA, "openai_chat", false),
        ("openrouter", "openai/gpt-6-sol", "openai_chat", false),
    ] {
        let dialect = named(dialect).expect("a dialect");
        let found = InBand::of(dialect, kind, model);
        assert_eq!(found.is_some(), taken, "{kind} {model}");
    }
}

#[test]
fn one_text_alone_is_the_first_item() {
    let body = r#"{"input":"Hi \"you\".","reasoning":{"summary":"auto","effort":"high"}}"#;
    let began = r#"{"input":"Hi \"you\".","reasoning":{"summary":"auto","effort":"low"}}"#;
    assert_eq!(openai().place(body.as_bytes()), Some(0));
    assert_eq!(said(openai(), body, &[]).as_deref(), Some(began));
    let user = r#"{"role":"user","content":"Hi \"you\"."}"#;
    let raised = said(openai(), body, &[change(0, Effort::High)]);
    let list = began.replace(r#""Hi \"you\".""#, &format!("[{RAISED},{user}]"));
    assert_eq!(raised, Some(list));
}

#[test]
fn nothing_is_said_so_while_thinking_is_off() {
    let body = |thinking: &str| {
        format!(
            r#"{{"thinking":{thinking},"output_config":{{"effort":"low"}},"messages":[{{"role":"user","content":"Hi."}}]}}"#
        )
    };
    for (thinking, sayable) in [
        (r#"{"type":"adaptive","display":"summarized"}"#, true),
        ("null", true),
        (r#"{"type":"disabled"}"#, false),
        (r#"{"type":"between_tools"}"#, false),
        (r#"{"type":"enabled","budget_tokens":2048}"#, false),
    ] {
        let body = body(thinking);
        let found = said(anthropic(), &body, &[]);
        assert_eq!(found.is_some(), sayable, "{thinking}");
        let place = anthropic().place(body.as_bytes());
        assert_eq!(place.is_some(), sayable, "{thinking}");
    }
    // Neither where the conversation began so, nor where it would go there.
    let (on, off) = (Bytes::from(body("null")), Some(Effort::None));
    let headers = HeaderMap::new();
    assert_eq!(anthropic().write(&on, off, &[], &headers), None);
    assert_eq!(
        said(anthropic(), &body("null"), &[change(1, Effort::None)]),
        None
    );
    let items = r#"{"input":[{"role":"user","content":"Hi."}]}"#;
    assert_eq!(said(openai(), items, &[change(0, Effort::None)]), None);
}

#[test]
fn changes_at_one_place_and_changes_to_the_same_are_one_or_none() {
    let body = |inner: &str| format!(r#"{{"reasoning":{{"effort":"low"}},"input":[{inner}]}}"#);
    let [a, b] = [
        r#"{"role":"user","content":"a"}"#,
        r#"{"role":"user","content":"b"}"#,
    ];
    let plain = body(&format!("{a},{b}"));
    for (changes, expected) in [
        (vec![(1, Effort::High)], format!("{a},{RAISED},{b}")),
        (
            vec![(1, Effort::Max), (1, Effort::High)],
            format!("{a},{RAISED},{b}"),
        ),
        (
            vec![(0, Effort::High), (2, Effort::Low)],
            format!("{RAISED},{a},{b},{LOWERED}"),
        ),
        (
            vec![(1, Effort::Low), (2, Effort::High)],
            format!("{a},{b},{RAISED}"),
        ),
        (
            vec![(1, Effort::High), (1, Effort::Low)],
            format!("{a},{b}"),
        ),
    ] {
        let changes: Vec<Change> = changes.into_iter().map(|(at, e)| change(at, e)).collect();
        assert_eq!(said(openai(), &plain, &changes), Some(body(&expected)));
    }
    // The conversation was cut, or the memory of it is not of this one.
    assert_eq!(said(openai(), &plain, &[change(3, Effort::High)]), None);
    let unsorted = [change(2, Effort::High), change(1, Effort::Low)];
    assert_eq!(said(openai(), &plain, &unsorted), None);
    assert_eq!(
        said(openai(), &body(""), &[change(0, Effort::High)]),
        Some(body(RAISED))
    );
}

#[test]
fn a_conversation_may_have_begun_without_a_word_of_effort() {
    let headers = HeaderMap::new();
    for (way, body, without) in [
        (
            anthropic(),
            r#"{"output_config":{"effort":"high"},"messages":[]}"#,
            r#"{"messages":[]}"#,
        ),
        (
            openai(),
            r#"{"input":[],"reasoning":{"summary":"auto","effort":"high"}}"#,
            r#"{"input":[],"reasoning":{"summary":"auto"}}"#,
        ),
    ] {
        let written = way.write(&Bytes::from(body), None, &[], &headers);
        let body = written.expect("it can be said").body;
        assert_eq!(body, without);
        // What is so already goes as it is.
        let same = way
            .write(&body, None, &[], &headers)
            .expect("it can be said");
        assert_eq!(same.body.as_ptr(), body.as_ptr());
    }
}

/// As Claude Code sends it: its own effort stands in a message with words, and in one of its own when the user changes it.
#[test]
fn what_the_client_says_of_effort_within_the_conversation_goes() {
    let user = r#"{"role":"user","content":"Hi. \"output_config\""}"#;
    let words = r#"{"role":"system","content":[{"type":"text","text":"t"}]}"#;
    let loud = words.replace("]}", r#"],"output_config":{"effort":"max"}}"#);
    let body =
        |inner: &str| format!(r#"{{"output_config":{{"effort":"low"}},"messages":[{inner}]}}"#);
    let own = body(&format!("{user},{loud}, {LOW}"));
    assert_eq!(anthropic().place(own.as_bytes()), Some(3));
    let began = said(anthropic(), &own, &[]);
    assert_eq!(began, Some(body(&format!("{user},{words}"))));
    let raised = said(anthropic(), &own, &[change(3, Effort::High)]);
    assert_eq!(raised, Some(body(&format!("{user},{words},{HIGH}"))));

    let body = |inner: &str| format!(r#"{{"reasoning":{{"effort":"low"}},"input":[{inner}]}}"#);
    let own = body(&format!("{LOWERED}, {user}, {LOWERED}"));
    assert_eq!(openai().place(own.as_bytes()), Some(1));
    assert_eq!(said(openai(), &own, &[]), Some(body(user)));
    // Two changes that only the client's own entry parted would stand side by side.
    let two = [change(0, Effort::Max), change(1, Effort::High)];
    assert_eq!(
        said(openai(), &own, &two),
        Some(body(&format!("{RAISED}, {user}")))
    );
    let more = own.replace(
        LOWERED,
        r#"{"type":"configuration_update","text":{"format":{}}}"#,
    );
    assert_eq!(said(openai(), &more, &[]), None);
}

#[test]
fn where_a_change_would_hold_for_the_next_answer() {
    let (user, words) = (
        r#"{"role":"user","content":"Hi."}"#,
        r#"{"role":"system","content":"w"}"#,
    );
    let call = r#"{"role":"assistant","content":[{"type":"tool_use"}]}"#;
    let result = r#"{"role":"user","content":[{"type":"tool_result"}]}"#;
    let both = r#"{"role":"user","content":[{"type":"tool_result"},{"type":"text","text":"t"}]}"#;
    for (messages, place) in [
        (vec![user], Some(1)),
        (vec![user, words], Some(2)),
        (vec![user, call, both], Some(3)),
        // The vendor would not heed it before the user says something.
        (vec![user, call, result], None),
        (vec![user, call], None),
        (vec![], None),
    ] {
        let body = format!(r#"{{"messages":[{}]}}"#, messages.join(","));
        assert_eq!(anthropic().place(body.as_bytes()), place, "{body}");
    }
    let (call, result) = (
        r#"{"type":"function_call","call_id":"c"}"#,
        r#"{"type":"function_call_output","call_id":"c"}"#,
    );
    let developer = r#"{"type":"message","role":"developer","content":"d"}"#;
    for (items, place) in [
        (vec![user], Some(0)),
        (vec![developer, user], Some(1)),
        (vec![user, developer], Some(0)),
        (vec![user, call, result], Some(3)),
        (vec![user, call], None),
        (vec![user, result, r#"{"type":"compaction_trigger"}"#], None),
        (vec![], None),
    ] {
        let body = format!(r#"{{"input":[{}]}}"#, items.join(","));
        assert_eq!(openai().place(body.as_bytes()), place, "{body}");
    }
}

#[test]
fn what_does_not_go_together_with_a_change() {
    let raised = [change(1, Effort::High)];
    for (field, sayable) in [
        (r#""truncation":"disabled""#, true),
        (r#""truncation":"auto""#, false),
        (r#""reasoning":{"mode":"standard"}"#, true),
        (r#""reasoning":{"mode":"pro"}"#, false),
        (
            r#""context_management":[{"type":"compaction","compact_threshold":9}]"#,
            false,
        ),
        (r#""previous_response_id":"resp_1""#, false),
        (r#""previous_response_id":null"#, true),
        (r#""conversation":"conv_1""#, false),
    ] {
        let body = format!(r#"{{{field},"input":[{{"role":"user","content":"Hi."}}]}}"#);
        assert_eq!(said(openai(), &body, &raised).is_some(), sayable, "{field}");
        assert_eq!(
            openai().place(body.as_bytes()).is_some(),
            sayable,
            "{field}"
        );
    }
    // What stood before a summary of the vendor's is no longer there, so that a change there would not hold.
    let summed = r#"{"input":[{"type":"compaction","encrypted_content":"e"},{"role":"user","content":"Hi."}]}"#;
    assert_eq!(said(openai(), summed, &raised), None);
    assert!(said(openai(), summed, &[]).is_some());
    for body in ["", "[]", r#"{"input":7}"#, r#"{"input":{}}"#, "{}"] {
        assert_eq!(said(openai(), body, &[]), None, "{body}");
        assert_eq!(openai().place(body.as_bytes()), None, "{body}");
    }
}

#[test]
fn the_clients_own_betas_stay() {
    const BETA: &str = "mid-conversation-output-config-2026-07-01";
    let body = Bytes::from_static(br#"{"messages":[{"role":"user","content":"Hi."}]}"#);
    for (own, expected) in [
        (vec![], Some(BETA.to_owned())),
        (vec!["", " "], Some(BETA.to_owned())),
        (vec!["a-1, b-2"], Some(format!("a-1,b-2,{BETA}"))),
        (vec!["a-1", "b-2"], Some(format!("a-1,b-2,{BETA}"))),
        (
            vec!["a-1", "mid-conversation-output-config-2026-07-01 , b-2"],
            None,
        ),
    ] {
        let values = own.iter().map(|v| HeaderValue::from_static(v));
        let name = http::HeaderName::from_static("anthropic-beta");
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, value);
        }
        let raised = [change(1, Effort::High)];
        let said = anthropic().write(&body, Some(Effort::Low), &raised, &headers);
        let found = said.expect("it can be said").header;
        let expected = expected.map(|value| {
            let value = HeaderValue::from_str(&value).expect("a value");
            ("anthropic-beta", value)
        });
        assert_eq!(found, expected, "{own:?}");
    }
}
