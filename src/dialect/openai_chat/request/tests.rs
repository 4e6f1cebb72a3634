use super::*;

fn decode(bytes: &[u8]) -> Result<Request<'_>, Error> {
    super::decode(bytes, &Place::default())
}

fn with(fields: &str) -> String {
    format!("{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}],{fields}}}")
}

#[test]
fn a_request_that_cannot_be_understood_is_refused_by_name() {
    let message = "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]";
    for (body, field, sentence) in [
        ("{", None, "cannot be read"),
        ("[1]", None, "must be a JSON object, found an array"),
        ("\"secret\"", None, "must be a JSON object, found a string"),
        ("{\"messages\":[]}", Some("model"), "found nothing"),
        ("{\"model\":null}", Some("model"), "found null"),
        ("{\"model\":\"\"}", Some("model"), "found an empty string"),
        (
            "{\"model\":\"a\\u0007\"}",
            Some("model"),
            "control character",
        ),
        (
            "{\"model\":\"m\"}",
            Some("messages"),
            "at least one message, found nothing",
        ),
        (
            "{\"model\":\"m\",\"messages\":{}}",
            Some("messages"),
            "found an object",
        ),
        (
            "{\"model\":\"m\",\"messages\":[]}",
            Some("messages"),
            "found an empty one",
        ),
        (
            "{\"model\":\"m\",\"messages\":[7]}",
            Some("messages[0]"),
            "must be an object",
        ),
        (
            "{\"model\":\"m\",\"messages\":[{\"content\":\"x\"}]}",
            Some("messages[0].role"),
            "must be a string, found nothing",
        ),
        (
            "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":{\"a\":1}}]}",
            Some("messages[0].content"),
            "found an object",
        ),
        (
            "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":1}]}]}",
            Some("messages[0].content[0].text"),
            "must be a string, found a number",
        ),
        (
            "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"content\":\"b\"}]}",
            Some("messages[0]"),
            "duplicate field `content`",
        ),
        (
            &format!("{{\"model\":\"m\",\"model\":\"n\",{message}}}"),
            Some("model"),
            "twice",
        ),
        (&with("\"x\":1,\"\\u0078\":2"), Some("x"), "twice"),
        (
            &with("\"stream_options\":{\"include_usage\":true,\"include_usage\":false}"),
            Some("stream_options.include_usage"),
            "twice",
        ),
        (
            &with("\"stream\":1"),
            Some("stream"),
            "must be true or false, found 1",
        ),
        (
            &with("\"stream_options\":[]"),
            Some("stream_options"),
            "must be an object",
        ),
        (
            &with("\"stream_options\":{\"include_usage\":\"yes\"}"),
            Some("stream_options.include_usage"),
            "must be true or false, found a string",
        ),
        (
            &with("\"max_tokens\":4294967297"),
            Some("max_tokens"),
            "from 1 to 4294967296, found 4294967297",
        ),
        (
            &with("\"max_tokens\":-0.5"),
            Some("max_tokens"),
            "found -0.5",
        ),
        (&with("\"max_tokens\":1.0"), Some("max_tokens"), "found 1.0"),
        (
            &with("\"max_tokens\":\"9\""),
            Some("max_tokens"),
            "found a string",
        ),
        (
            &with("\"max_completion_tokens\":4294967297"),
            Some("max_completion_tokens"),
            "found 4294967297",
        ),
        (
            &with("\"max_tokens\":5,\"max_completion_tokens\":6"),
            Some("max_tokens"),
            "the same as \"max_completion_tokens\" (6), found 5",
        ),
        (&with("\"n\":129"), Some("n"), "from 1 to 128, found 129"),
        (&with("\"n\":0"), Some("n"), "found 0"),
        (&with("\"n\":true"), Some("n"), "found a boolean"),
        (
            &with("\"tools\":{}"),
            Some("tools"),
            "must be an array, found an object",
        ),
    ] {
        let error = decode(body.as_bytes()).expect_err(body);
        assert_eq!(error.status(), 400, "{body}");
        assert_eq!(error.field.as_deref(), field, "{body}");
        assert!(error.public.contains(sentence), "{body}: {}", error.public);
        assert!(!error.detail.contains("secret"));
    }
}

#[test]
fn limits_and_choices_are_read_where_the_client_put_them() {
    let read = |fields: &str| {
        let body = with(fields);
        let request = decode(body.as_bytes()).expect(fields);
        (
            request.limit,
            request.choices,
            request.stream,
            request.usage_asked,
        )
    };
    let limit = |field, tokens| Some(Limit { field, tokens });
    for (fields, expected) in [
        ("\"n\":null", (None, 1, false, false)),
        ("\"n\":3,\"max_tokens\":null", (None, 3, false, false)),
        (
            "\"max_tokens\":7,\"stream\":true",
            (limit("max_tokens", 7), 1, true, false),
        ),
        (
            "\"max_tokens\":7,\"max_completion_tokens\":7,\"stream\":null",
            (limit("max_completion_tokens", 7), 1, false, false),
        ),
        (
            "\"stream\":true,\"stream_options\":{\"include_usage\":true}",
            (None, 1, true, true),
        ),
        ("\"stream_options\":null", (None, 1, false, false)),
    ] {
        assert_eq!(read(fields), expected, "{fields}");
    }
}

#[test]
fn fields_without_a_bound_are_named() {
    for (fields, expected) in [
        (
            "\"temperature\":1,\"top_k\":3,\"grammar\":\"x\",\"tools\":[{\"type\":\"function\"}]",
            &[][..],
        ),
        (
            "\"service_tier\":\"auto\",\"modalities\":[\"text\"],\"audio\":null,\"odd\":null",
            &[],
        ),
        (
            "\"modalities\":[\"text\",\"audio\"],\"audio\":{}",
            &["modalities", "audio"],
        ),
        (
            "\"web_search_options\":{},\"prediction\":{}",
            &["web_search_options", "prediction"],
        ),
        (
            "\"models\":[],\"plugins\":[],\"transforms\":[]",
            &["models", "plugins", "transforms"],
        ),
        (
            "\"num_predict\":1,\"n_predict\":1,\"options\":{}",
            &["num_predict", "n_predict", "options"],
        ),
        (
            "\"prompt_cache_retention\":\"24h\"",
            &["prompt_cache_retention"],
        ),
        ("\"surprise\\u0000\":1", &["surprise"]),
        (
            "\"tools\":[{\"type\":\"custom\"},{\"type\":\"openrouter:web_search\"},{\"google_search\":{}},{\"function\":{}},1]",
            &["tools[1]", "tools[2]", "tools[4]"],
        ),
    ] {
        let body = with(fields);
        assert_eq!(
            decode(body.as_bytes()).expect(fields).unbounded,
            expected,
            "{fields}"
        );
    }
}

#[test]
fn the_conversation_is_told_in_no_vendors_words() {
    let body = r#"{"model":"m","response_format":{"type":"json_schema"},"functions":[{}],
        "tools":[{"type":"function","function":{}}],"messages":[
        {"role":"system","content":"be"},{"role":"developer","content":[{"type":"text","text":"brief"}]},
        {"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"x"}},
          {"type":"input_audio"},{"type":"file"},{"type":"new"}]},
        {"role":"assistant","content":null,"refusal":null,"reasoning_content":"hm","tool_calls":[{},{}]},
        {"role":"tool","tool_call_id":"1","content":[{"type":"text","text":"4"},{"type":"text","text":"2"}]},
        {"role":"function","name":"f","content":"7"},
        {"role":"assistant","content":"done","refusal":"no","function_call":{}}]}"#;
    let request = decode(body.as_bytes()).expect("valid");
    let text = |t: &'static str| Part::Text(t.into());
    let prompt = &request.prompt;
    assert_eq!(prompt.system, ["be", "brief"]);
    assert_eq!((prompt.tools, prompt.structured), (2, true));
    let turns: Vec<_> = prompt
        .turns
        .iter()
        .map(|t| (t.role, t.parts.as_slice()))
        .collect();
    assert_eq!(
        turns,
        [
            (
                Role::User,
                &[
                    text("see"),
                    Part::Image,
                    Part::Audio,
                    Part::File,
                    Part::File
                ][..]
            ),
            (
                Role::Assistant,
                &[Part::Reasoning, Part::ToolCall, Part::ToolCall]
            ),
            (Role::Tool, &[Part::ToolResult("4\n2".into())]),
            (Role::Tool, &[Part::ToolResult("7".into())]),
            (Role::Assistant, &[text("done"), text("no"), Part::ToolCall]),
        ]
    );
    let at = |j| format!("messages[2].content[{j}]");
    assert_eq!(request.unbounded, [at(4)]);
    let media: Vec<_> = request
        .media
        .iter()
        .map(|m| (m.kind, m.at.clone()))
        .collect();
    let kinds = [MediaKind::Image, MediaKind::Audio, MediaKind::File];
    assert_eq!(
        media,
        [(kinds[0], at(1)), (kinds[1], at(2)), (kinds[2], at(3))]
    );
    assert!(request.media.iter().all(|m| m.data.is_none()));
    assert!(matches!(prompt.system[0], Cow::Borrowed(_)));
}

#[test]
fn the_bytes_of_media_are_the_strings_that_hold_them_and_nothing_else() {
    for (part, data) in [
        (
            r#"{"type":"image_url","image_url":{"url":"data:image\/png;base64,aGk="}}"#,
            Some(r#""data:image\/png;base64,aGk=""#),
        ),
        (
            r#"{"type":"image_url","image_url":"data:,x"}"#,
            Some(r#""data:,x""#),
        ),
        (
            r#"{"type":"image_url","image_url":{"url":"https://x"}}"#,
            None,
        ),
        (
            r#"{"type":"image_url","image_url":{"url":"data:a","url":"data:b"}}"#,
            None,
        ),
        (r#"{"type":"image_url","image_url":{"url":7}}"#, None),
        (r#"{"type":"image_url"}"#, None),
        (
            r#"{"type":"input_audio","input_audio":{"data":"aGk=","format":"wav"}}"#,
            Some(r#""aGk=""#),
        ),
        (
            r#"{"type":"file","file":{"file_data":"data:application/pdf;base64,aGk="}}"#,
            Some(r#""data:application/pdf;base64,aGk=""#),
        ),
        (r#"{"type":"file","file":{"file_id":"f"}}"#, None),
    ] {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#);
        let request = decode(body.as_bytes()).expect(part);
        let media: Vec<_> = request.media.iter().map(|m| m.data).collect();
        assert_eq!((media, request.unbounded.len()), (vec![data], 0), "{part}");
    }
    // A text is a text whatever stands beside it.
    let body = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x","image_url":"data:,x"}]}]}"#;
    assert!(decode(body.as_bytes()).expect("valid").media.is_empty());
    let many = vec![r#"{"type":"image_url"}"#; 4_097].join(",");
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{many}]}}]}}"#);
    let request = decode(body.as_bytes()).expect("valid");
    assert_eq!(request.unbounded, ["messages[0].content[4096]"]);
}
