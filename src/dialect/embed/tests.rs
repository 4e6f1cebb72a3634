use super::*;
use crate::dialect::UsageRule;
use serde_json::{Value, json};

fn place(call: Call) -> Place<'static> {
    let model = (call.shape() == Shape::Gemini).then(|| "m".into());
    Place { call, model }
}

fn said(call: Call, body: &str) -> Result<EmbeddingAsk, Error> {
    read(body.as_bytes(), &place(call)).and_then(|request| request.said())
}

#[test]
fn every_path_of_embeddings_names_its_call_and_its_model() {
    for (path, call, model) in [
        ("/v1/embeddings", Call::OpenAi, None),
        ("/openai/v1/embeddings", Call::OpenAi, None),
        (
            "/openai/deployments/d%201/embeddings",
            Call::OpenAi,
            Some("d 1"),
        ),
        ("/api/embed", Call::Ollama, None),
        ("/api/embeddings", Call::OllamaOld, None),
        ("/v1beta/models/g:embedContent", Call::Gemini, Some("g")),
        (
            "/v1/models/g:batchEmbedContents",
            Call::GeminiBatch,
            Some("g"),
        ),
    ] {
        let found = at(path).expect(path);
        assert_eq!(
            (found.call, found.model.as_deref()),
            (call, model),
            "{path}"
        );
    }
    for path in [
        "/openai/deployments/a/b/embeddings",
        "/v1/embeddings/x",
        "/v1beta/models/g:generateContent",
    ] {
        assert_eq!(at(path), None, "{path}");
    }
}

#[test]
fn the_same_texts_are_read_from_every_shape_and_written_in_every_other() {
    let two = vec!["a".to_owned(), "b".to_owned()];
    for (call, body) in [
        (
            Call::OpenAi,
            r#"{"model":"m","input":["a","b"],"dimensions":8}"#,
        ),
        (
            Call::Ollama,
            r#"{"model":"m","input":["a","b"],"dimensions":8,"truncate":true}"#,
        ),
        (
            Call::GeminiBatch,
            r#"{"requests":[{"model":"models/m","content":{"parts":[{"text":"a"}]},"outputDimensionality":8},{"content":{"parts":[{"text":"b"}]},"outputDimensionality":8}]}"#,
        ),
    ] {
        let first = said(call, body).expect(body);
        assert_eq!((&first.texts, first.dimensions), (&two, Some(8)), "{body}");
        for shape in [Shape::OpenAi, Shape::Ollama, Shape::Gemini] {
            let (call, body) = write(&first, shape, "m");
            let again = said(call, &body).expect(&body);
            assert_eq!((&again.texts, again.dimensions), (&two, Some(8)), "{body}");
        }
    }
    let one = said(
        Call::OllamaOld,
        r#"{"model":"m","prompt":"a","options":{}}"#,
    );
    assert_eq!(one.expect("it can be said").texts, ["a"]);
}

#[test]
fn what_another_shape_cannot_say_is_named() {
    for (call, body, field) in [
        (Call::OpenAi, r#"{"model":"m","input":[1,2]}"#, "input"),
        (
            Call::OpenAi,
            r#"{"model":"m","input":"a","encoding_format":"int8"}"#,
            "encoding_format",
        ),
        (
            Call::OpenAi,
            r#"{"model":"m","input":"a","input_type":"query"}"#,
            "input_type",
        ),
        (
            Call::OpenAi,
            r#"{"model":"m","input":"a","dimensions":0}"#,
            "dimensions",
        ),
        (Call::OpenAi, r#"{"model":"m"}"#, "input"),
        (Call::OpenAi, r#"{"input":"a"}"#, "model"),
        (
            Call::OpenAi,
            r#"{"model":"m","model":"n","input":"a"}"#,
            "model",
        ),
        (Call::OllamaOld, r#"{"model":"m","prompt":["a"]}"#, "prompt"),
        (
            Call::Gemini,
            r#"{"content":{"parts":[{"text":"a"}]},"taskType":"X"}"#,
            "taskType",
        ),
        (
            Call::Gemini,
            r#"{"content":{"parts":[{"inlineData":{}}]}}"#,
            "content",
        ),
    ] {
        let error = said(call, body).expect_err(body);
        assert_eq!(error.field.as_deref(), Some(field), "{body}: {error}");
    }
}

#[test]
fn more_texts_than_may_be_translated_are_refused_by_name_and_counted_all_the_same() {
    let open = |n| format!(r#"{{"model":"m","input":[{}]}}"#, vec!["\"\""; n].join(","));
    let one = r#"{"content":{"parts":[{"text":"a"}]}}"#;
    let batch = |n| format!(r#"{{"requests":[{}]}}"#, vec![one; n].join(","));
    for (call, most, more, field) in [
        (Call::OpenAi, open(2048), open(2049), "input"),
        (Call::Ollama, open(2048), open(2049), "input"),
        (Call::GeminiBatch, batch(2048), batch(2049), "requests"),
    ] {
        assert_eq!(said(call, &most).expect("as many").texts.len(), 2048);
        let error = said(call, &more).expect_err("one too many");
        assert_eq!(error.field.as_deref(), Some(field));
        assert!(error.to_string().contains("2048"), "{error}");
        let whole = read(more.as_bytes(), &place(call)).expect("a vendor's own shape");
        assert_eq!(whole.texts().len(), 2049, "{call:?}");
    }
}

#[test]
fn what_is_neither_text_nor_tokens_has_no_bound() {
    for (call, body, bounded) in [
        (Call::OpenAi, r#"{"model":"m","input":"a{"}"#, true),
        (Call::OpenAi, r#"{"model":"m","input":[[1,2],[3]]}"#, true),
        (
            Call::OpenAi,
            r#"{"model":"m","input":[{"image":"u"}]}"#,
            false,
        ),
        (Call::OpenAi, r#"{"model":"m","input":[["a"]]}"#, false),
        (
            Call::Gemini,
            r#"{"content":{"parts":[{"text":"a"}]}}"#,
            true,
        ),
        (
            Call::Gemini,
            r#"{"content":{"role":"user","parts":[{"text":"what is inlineData?"}]}}"#,
            true,
        ),
        (
            Call::Gemini,
            r#"{"content":{"parts":[{"fileData":{}}]}}"#,
            false,
        ),
        (
            Call::Gemini,
            r#"{"content":{"parts":[{"inline\u0044ata":{}}]}}"#,
            false,
        ),
        (
            Call::Gemini,
            r#"{"content":{"parts":[{"text":"a","new":{}}]}}"#,
            false,
        ),
        (
            Call::Gemini,
            r#"{"content":{"parts":{"fileData":{}}}}"#,
            false,
        ),
        (
            Call::Gemini,
            r#"{"content":{"parts":[],"p\u0061rts":[{"fileData":{}}]}}"#,
            false,
        ),
        (
            Call::Gemini,
            r#"{"content":{"parts":[{"text":{}}]}}"#,
            false,
        ),
        (
            Call::GeminiBatch,
            r#"{"requests":[{"content":{"parts":[{"text":"fileData"}]},"title":"t"}]}"#,
            true,
        ),
        (
            Call::GeminiBatch,
            r#"{"requests":[{"content":{"parts":[]},"content":{"parts":[{"file\u0044ata":{}}]}}]}"#,
            false,
        ),
        (Call::GeminiBatch, r#"{"requests":[3]}"#, false),
    ] {
        let request = read(body.as_bytes(), &place(call)).expect(body);
        assert_eq!(request.unbounded.is_empty(), bounded, "{body}");
    }
}

#[test]
fn vectors_are_the_same_in_every_shape_packed_or_not() {
    let floats = json!({"data":[{"index":1,"embedding":[3.5]},{"index":0,"embedding":[0.1,-2.0]}],"model":"up","usage":{"prompt_tokens":5,"total_tokens":5}});
    let read = vectors(Call::OpenAi, floats.to_string().as_bytes()).expect("vectors");
    assert_eq!(read.all, [vec![0.1, -2.0], vec![3.5]]);
    let packed = EmbeddingAsk {
        base64: true,
        ..EmbeddingAsk::default()
    };
    for (call, said) in [
        (Call::OpenAi, &EmbeddingAsk::default()),
        (Call::OpenAi, &packed),
        (Call::Ollama, &EmbeddingAsk::default()),
        (Call::GeminiBatch, &EmbeddingAsk::default()),
    ] {
        let body = read.body(call, said, "m");
        let again = vectors(call, body.as_bytes()).expect(&body);
        assert_eq!(again.all, read.all, "{body}");
    }
    let body: Value = serde_json::from_str(&read.body(Call::OpenAi, &packed, "m")).expect("JSON");
    assert_eq!(body["data"][1]["embedding"], "AABgQA==");
    assert_eq!(body["usage"]["prompt_tokens"], 5);
    let old = read.body(Call::OllamaOld, &packed, "m");
    assert_eq!(old, r#"{"embedding":[0.1,-2.0]}"#);
}

#[test]
fn usage_is_found_in_every_vendors_place() {
    for (call, body, input) in [
        (
            Call::OpenAi,
            r#"{"data":[],"usage":{"prompt_tokens":3,"total_tokens":3}}"#,
            Some(3),
        ),
        (
            Call::OpenAi,
            r#"{"data":[],"usage":{"total_tokens":4}}"#,
            Some(4),
        ),
        (
            Call::Ollama,
            r#"{"embeddings":[[1]],"prompt_eval_count":5}"#,
            Some(5),
        ),
        (
            Call::Gemini,
            r#"{"embedding":{"values":[1]},"usageMetadata":{"promptTokenCount":6}}"#,
            Some(6),
        ),
        (Call::Gemini, r#"{"embedding":{"values":[1]}}"#, None),
    ] {
        let answer = meter(call, body.as_bytes(), UsageRule::Dialect);
        assert_eq!(answer.usage.map(|u| u.input), input, "{body}");
        assert!(!answer.is_unread(), "{body}");
    }
    assert!(meter(Call::OpenAi, b"<html>", UsageRule::Dialect).is_unread());
}

#[test]
fn a_body_that_is_cut_or_bent_anywhere_is_refused_or_read_and_never_a_panic() {
    let asked = [
        (
            Call::OpenAi,
            r#"{"model":"m","input":["a\u00e9","ü",[1,2]],"dimensions":8,"user":null}"#,
        ),
        (
            Call::OllamaOld,
            r#"{"model":"m","prompt":"a","options":{"x":[1]}}"#,
        ),
        (
            Call::GeminiBatch,
            r#"{"requests":[{"content":{"parts":[{"text":"a"}]},"outputDimensionality":8},3]}"#,
        ),
        (Call::Gemini, r#"{"content":{"parts":[]},"taskType":5}"#),
    ];
    let answered = r#"{"data":[{"index":0,"embedding":"AABgQA=="},{"embedding":[1.5,null]}],"embeddings":[{"values":[1]}],"usage":{"prompt_tokens":-1}}"#;
    for (call, body) in asked {
        for at in 0..=body.len() {
            for byte in [b'"', b'{', b'[', b'0', 0xff] {
                let mut bent = body.as_bytes().to_vec();
                if let Some(place) = bent.get_mut(at) {
                    *place = byte;
                }
                for bytes in [&bent[..], &body.as_bytes()[..at]] {
                    if let Ok(request) = read(bytes, &place(call)) {
                        let _ = (request.said(), request.texts());
                    }
                }
            }
        }
    }
    for at in 0..=answered.len() {
        for call in [Call::OpenAi, Call::Ollama, Call::Gemini] {
            let mut bent = answered.as_bytes().to_vec();
            if let Some(place) = bent.get_mut(at) {
                *place = b'"';
            }
            for bytes in [&bent[..], &answered.as_bytes()[..at]] {
                let _ = (vectors(call, bytes), meter(call, bytes, UsageRule::Dialect));
            }
        }
    }
}
