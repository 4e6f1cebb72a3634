use super::*;
use crate::chat::Usage;
use crate::dialect::framed::Framed;
use crate::dialect::{Dialect, Frame as Around, StreamDecoder, UsageRule};

fn decode(stream: &[u8], pieces: &mut dyn Iterator<Item = usize>) -> Vec<Event> {
    let mut decoder = Framed::<CohereStream>::default();
    let (mut events, mut rest) = (Vec::new(), stream);
    while !rest.is_empty() {
        let size = pieces.next().unwrap_or(rest.len()).clamp(1, rest.len());
        let (piece, more) = rest.split_at(size);
        decoder.feed(piece, &mut |e| events.push(e));
        rest = more;
    }
    decoder.finish(&mut |e| events.push(e));
    events
}

fn all(stream: &str) -> Vec<Event> {
    decode(stream.as_bytes(), &mut std::iter::empty())
}

fn event(json: &str) -> String {
    format!("event: x\ndata: {json}\n\n")
}

/// Every kind of event, with calls whose pieces cross each other.
fn stream() -> String {
    [
        r#"{"type":"message-start","id":"1","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}"#,
        r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"thinking","thinking":"h"}}}}"#,
        r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"thinking":"m"}}}}"#,
        r#"{"type":"content-end","index":0}"#,
        r#"{"type":"content-start","index":1,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
        r#"{"type":"content-delta","index":1,"delta":{"message":{"content":{"text":"Hé"}}},"logprobs":{"text":"Hé","token_ids":[1,2],"logprobs":[-0.5,-0.25]}}"#,
        r#"{"type":"citation-start","index":0,"delta":{"message":{"citations":{"start":0,"end":2,"text":"Hé","sources":[{"type":"document","id":"d","document":{"url":"https://e.org/","title":"E"}},{"type":"tool","id":"t","tool_output":{"a":1}}],"type":"TEXT_CONTENT"}}}}"#,
        r#"{"type":"citation-start","index":1,"delta":{"message":{"citations":{"start":0,"end":1,"sources":[{"document":{"url":"https://p.org/"}}],"type":"PLAN"}}}}"#,
        r#"{"type":"content-end","index":1}"#,
        r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"I look."}}}"#,
        r#"{"type":"tool-call-start","index":2,"delta":{"message":{"tool_calls":{"id":"a","type":"function","function":{"name":"f","arguments":""}}}}}"#,
        r#"{"type":"tool-call-delta","index":2,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"x\""}}}}}"#,
        r#"{"type":"tool-call-start","index":3,"delta":{"message":{"tool_calls":{"id":"b","type":"function","function":{"name":"g","arguments":"{"}}}}}"#,
        r#"{"type":"tool-call-delta","index":2,"delta":{"message":{"tool_calls":{"function":{"arguments":":1}"}}}}}"#,
        r#"{"type":"tool-call-delta","index":3,"delta":{"message":{"tool_calls":{"function":{"arguments":"}"}}}}}"#,
        r#"{"type":"tool-call-end","index":2}"#,
        r#"{"type":"message-end","id":"1","delta":{"finish_reason":"TOOL_CALL","usage":{"billed_units":{"input_tokens":20.0,"output_tokens":9},"tokens":{"input_tokens":518,"output_tokens":12},"cached_tokens":500}}}"#,
    ]
    .map(event)
    .concat()
        + "data: [DONE]\n\n"
}

#[test]
fn a_stream_tells_thoughts_words_sources_calls_and_what_is_billed() {
    let text = |text: &str| Event::Text(text.to_owned());
    let more = |index, text: &str| Event::Arguments {
        index,
        text: text.to_owned(),
    };
    let call = |index, id: &str, name: &str| Event::Call {
        index,
        id: id.to_owned(),
        name: name.to_owned(),
    };
    let expected = [
        Event::Reasoning("h".into()),
        Event::Reasoning("m".into()),
        Event::Logprobs(vec![Token {
            text: "H\u{e9}".into(),
            bytes: None,
            logprob: Number::from_f64(-0.75).expect("a number"),
            top: Vec::new(),
        }]),
        text("H\u{e9}"),
        Event::Citation(Citation {
            url: "https://e.org/".into(),
            title: "E".into(),
            start: 0,
            end: 2,
        }),
        text("I look."),
        call(0, "a", "f"),
        more(0, "{\"x\""),
        call(1, "b", "g"),
        more(1, "{"),
        more(0, ":1}"),
        more(1, "}"),
        Event::Usage(Usage {
            input: 18,
            cached: 2,
            output: 9,
            ..Usage::default()
        }),
        Event::Finish(Finish::Calls),
        Event::End,
    ];
    assert_eq!(all(&stream()), expected);
}

#[test]
fn a_stream_says_the_same_however_it_is_cut() {
    for stream in [stream(), stream().replace('\n', "\r\n")] {
        let whole = all(&stream);
        let bytes = stream.as_bytes();
        assert_eq!(decode(bytes, &mut std::iter::repeat(1)), whole);
        for seed in 1..60_usize {
            let mut state = seed;
            let mut sizes = std::iter::repeat_with(|| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(seed);
                (state >> 33) % 97 + 1
            });
            assert_eq!(decode(bytes, &mut sizes), whole, "seed {seed}");
        }
    }
}

#[test]
fn what_crosses_in_one_stream_is_told_one_after_the_other_in_another() {
    let mut writer = super::super::Cohere.stream_writer(Around::default());
    let mut out = Vec::new();
    for event in all(&stream()) {
        writer.write(event, &mut out);
    }
    writer.finish(&mut out);
    let text = String::from_utf8(out).expect("text");
    let calls: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("event: tool-call-"))
        .collect();
    assert_eq!(
        calls,
        ["start", "delta", "delta", "end", "start", "delta", "end"]
    );
    let (mut heard, mut said) = (Answer::default(), Answer::default());
    all(&text).into_iter().for_each(|e| heard.add(e));
    all(&stream()).into_iter().for_each(|e| said.add(e));
    assert_eq!(heard.first.items, said.first.items);
}

#[test]
fn a_whole_answer_tells_the_same_and_an_error_is_one() {
    let body = r#"{"id":"1","message":{"role":"assistant","tool_plan":"I look.","content":[{"type":"thinking","thinking":"hm"}],"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"TOOL_CALL","usage":{"tokens":{"input_tokens":5,"output_tokens":2}}}"#;
    let answer = super::super::Cohere.answer(body.as_bytes(), UsageRule::Dialect);
    assert_eq!(
        (answer.thoughts(), answer.words()),
        ("hm".into(), "I look.f{}".into())
    );
    let usage = answer.usage.expect("told");
    assert_eq!((usage.input, usage.output), (5, 2));
    for (stream, why) in [
        (
            event(r#"{"type":"message-end","delta":{"error":"gone","finish_reason":"ERROR"}}"#),
            "gone",
        ),
        (
            event(r#"{"type":"message-end","delta":{"finish_reason":"TIMEOUT"}}"#),
            "the model did not finish its answer in time",
        ),
        (
            event(r#"{"id":"1","message":"too many tokens"}"#),
            "too many tokens",
        ),
        ("event: error\ndata: plain\n\n".to_owned(), "plain"),
        (
            "event: error\ndata: {\"error\":\"model overloaded\"}\n\n".to_owned(),
            "model overloaded",
        ),
        (
            event(r#"{"type":"error","message":"model overloaded"}"#),
            "model overloaded",
        ),
        (event(r#"{"error":{"message":"gone"}}"#), "gone"),
    ] {
        assert_eq!(all(&stream), [Event::Error(why.into())], "{stream}");
    }
    for usage in [
        "{}",
        "null",
        "7",
        r#"{"billed_units":{"input_tokens":-1,"output_tokens":1}}"#,
        r#"{"tokens":{"input_tokens":1.5,"output_tokens":1}}"#,
    ] {
        let body = format!("{{\"finish_reason\":\"COMPLETE\",\"usage\":{usage}}}");
        assert_eq!(whole(body.as_bytes()).usage, None, "{usage}");
    }
}

#[test]
fn a_null_in_a_list_costs_nothing_but_itself() {
    for sources in [
        "null",
        "7",
        r#"[null,{"document":null},{"document":{"url":"https://e.org/"}}]"#,
    ] {
        let cited = format!("{{\"start\":0,\"end\":2,\"sources\":{sources}}}");
        let body = format!(
            "{{\"message\":{{\"content\":[{{\"text\":\"Hi\"}}],\"citations\":[{cited},null]}},\"finish_reason\":\"COMPLETE\"}}"
        );
        let told = whole(body.as_bytes());
        assert_eq!(told.words(), "Hi", "{body}");
        assert_eq!(told.first.citations.len(), usize::from(sources.len() > 4));
    }
    for (logprobs, told) in [
        ("null", 0),
        ("[null]", 0),
        ("[-0.5,null]", 0),
        ("[-0.5]", 1),
        ("[-0.5,-0.5]", 1),
    ] {
        let likely = format!("{{\"text\":\"Hi\",\"logprobs\":{logprobs}}}");
        let body = format!(
            "{{\"message\":{{\"content\":[{{\"text\":\"Hi\"}}]}},\"logprobs\":[null,{likely}]}}"
        );
        let answer = whole(body.as_bytes());
        assert_eq!(
            (answer.words().as_str(), answer.first.logprobs.len()),
            ("Hi", told),
            "{body}"
        );
        let delta = format!(
            "{{\"type\":\"content-delta\",\"delta\":{{\"message\":{{\"content\":{{\"text\":\"Hi\"}}}}}},\"logprobs\":{likely}}}"
        );
        assert_eq!(all(&event(&delta)).len(), 1 + told, "{delta}");
    }
}
