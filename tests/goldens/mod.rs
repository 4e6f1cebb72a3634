//! What every dialect's requests and answers become in every other, as files to read in a review.
//!
//! `tests/fixtures/goldens/FEATURE/asked.txt` holds a request in each client's dialect, `said.txt` an answer and
//! `streamed.txt` a stream in each model's; `requests.txt`, `answers.txt` and `streams.txt` are what flyball makes of
//! them. `FLYBALL_GOLDENS=write cargo test goldens` writes those three again.

use flyball::dialect::{Addressee, Answer, Dialect, Frame, Place, UsageRule, named, translate};
use flyball::effort::{self, Family, Target};
use flyball::error::Error;
use serde::Serialize as _;
use serde_json::ser::PrettyFormatter;
use serde_json::{Serializer, Value};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The dialects, each with a model that speaks it.
const MODELS: [(&str, Family, &str); 6] = [
    ("openai_chat", Family::OpenAi, "gpt-5.4"),
    ("openai_responses", Family::OpenAi, "gpt-5.4"),
    ("anthropic_messages", Family::Anthropic, "claude-sonnet-4-6"),
    ("gemini", Family::Gemini, "gemini-3.8-flash"),
    ("ollama_chat", Family::Ollama, "qwen3:8b"),
    (
        "cohere_chat",
        Family::Compatible,
        "command-a-reasoning-08-2025",
    ),
];

fn dialect(name: &str) -> &'static dyn Dialect {
    named(name).expect("a section is named after a dialect")
}

/// A file's sections: `=== NAME`, then text up to the next one.
fn sections(path: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let parts = text.split("=== ").skip(1);
    let named = parts.map(|part| {
        let (name, body) = part.split_once('\n').expect("a name ends its line");
        (name.to_owned(), format!("{}\n", body.trim_end()))
    });
    named.collect()
}

fn pretty(json: &str) -> String {
    let value: Value = serde_json::from_str(json).expect("JSON");
    let mut out = Vec::new();
    let narrow = PrettyFormatter::with_indent(b" ");
    let mut writer = Serializer::with_formatter(&mut out, narrow);
    value.serialize(&mut writer).expect("JSON is written");
    String::from_utf8(out).expect("text")
}

/// A request as the request path says it to a model: translated, then given its effort in the model's own words.
fn said_to(
    from: &dyn Dialect,
    body: &str,
    stream: bool,
    (to, family, model): (&str, Family, &str),
) -> Result<String, Error> {
    let path = |stream| Place {
        model: Some("m".into()),
        stream,
        ..Place::default()
    };
    let request = from.decode_at(body.as_bytes(), &path(stream))?;
    let to = dialect(to);
    let accepts = effort::accepts(family, model);
    let addressee = Addressee {
        model,
        limit: 4_096,
        thinks: accepts.may_think(),
    };
    let written = translate(from, &from.converse(&request)?, to, &addressee)?;
    let read = to.decode_at(written.body.as_bytes(), &path(stream))?;
    let target = Target {
        family,
        model,
        words: to.effort(),
        asked: &read.fields,
        limit_tokens: None,
        version: Some("2023-06-01"),
    };
    let effort = match request.effort {
        Some(wanted) => effort::write_as(&target, &accepts, wanted),
        None => effort::fit(&target, &accepts),
    };
    let edited = read.fields.edited(&effort.edits);
    let mut out = pretty(edited.as_deref().unwrap_or(&written.body));
    for (what, mut list) in [("dropped", written.lost), ("taken out", effort.removed)] {
        list.sort();
        list.dedup();
        if !list.is_empty() {
            write!(out, "\n--- {what}: {}", list.join(", ")).expect("a string takes everything");
        }
    }
    Ok(out)
}

fn requests(folder: &Path) -> String {
    let mut out = String::new();
    for (from, body) in sections(&folder.join("asked.txt")) {
        let stream = folder.ends_with("text");
        for to in MODELS.iter().filter(|(to, ..)| *to != from) {
            let text = match said_to(dialect(&from), &body, stream, *to) {
                Ok(text) => text,
                Err(error) => format!("--- {}: {}", error.status(), error.public),
            };
            writeln!(out, "=== {from} -> {}\n{text}\n", to.0).expect("a string takes everything");
        }
    }
    out
}

/// Whether a client can ask a model for this; where the folder has no requests, everybody can.
fn askable(folder: &Path, client: &str, model: &str) -> bool {
    let asked = sections(&folder.join("asked.txt"));
    let body = asked.iter().find(|(from, _)| from == client);
    let model = MODELS.iter().find(|(name, ..)| *name == model);
    match (body, model) {
        (Some((_, body)), Some(model)) => said_to(dialect(client), body, false, *model).is_ok(),
        _ => asked.is_empty(),
    }
}

/// What stands in every answer of a dialect alike; in the folder `text` it is shown.
const ALIKE: [&str; 16] = [
    r#","incomplete_details":null"#,
    r#""logprobs":null,"#,
    r#","logprobs":[]"#,
    r#","refusal":null"#,
    r#","output_tokens_details":{"thinking_tokens":0}"#,
    r#""cache_creation_input_tokens":0,"#,
    r#""id":"chatcmpl-0123","object":"chat.completion.chunk","created":1700000000,"#,
    r#","responseId":"0123""#,
    r#""created_at":"2023-11-14T22:13:20Z","#,
    r#","total_duration":1,"prompt_eval_duration":1,"eval_duration":1"#,
    r#","object":"response","created_at":1700000000"#,
    r#","cache_write_tokens":0"#,
    r#","background":false,"error":null"#,
    r#","instructions":null,"max_output_tokens":null"#,
    r#","parallel_tool_calls":true,"previous_response_id":null,"reasoning":{"effort":null,"summary":null},"store":false,"temperature":null,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":null,"truncation":"disabled""#,
    r#","user":null,"metadata":{}"#,
];

fn shortened(folder: &Path, text: &str) -> String {
    match folder.ends_with("text") {
        true => text.to_owned(),
        false => ALIKE
            .iter()
            .fold(text.to_owned(), |text, alike| text.replace(alike, "")),
    }
}

/// In the folder `functions` the client calls tools in the old way.
fn frame(from: &'static str, folder: &Path) -> Frame {
    Frame {
        id: "0123".into(),
        model: "asked".into(),
        maker: "asked".into(),
        from,
        created: 1_700_000_000,
        usage: true,
        array: false,
        old_calls: folder.ends_with("functions"),
        input_estimate: 12,
        ..Frame::default()
    }
}

fn answers(folder: &Path) -> String {
    let mut out = String::new();
    for (from, body) in sections(&folder.join("said.txt")) {
        let from = dialect(&from);
        for (to, ..) in MODELS.iter().filter(|(to, ..)| *to != from.name()) {
            if !askable(folder, to, from.name()) {
                continue;
            }
            let answer: Answer = from.answer(body.as_bytes(), UsageRule::Dialect);
            let body = dialect(to).answer_body(answer, &frame(from.name(), folder));
            let text = pretty(&shortened(
                folder,
                std::str::from_utf8(&body).expect("text"),
            ));
            writeln!(out, "=== {} -> {to}\n{text}\n", from.name())
                .expect("a string takes everything");
        }
    }
    out
}

/// As the relay does: every event at once, and the end unless there was an error.
fn streamed(from: &dyn Dialect, bytes: &str, to: &str, folder: &Path) -> String {
    let mut decoder = from.stream(UsageRule::Dialect);
    let mut events = Vec::new();
    decoder.feed(bytes.as_bytes(), &mut |event| events.push(event));
    decoder.finish(&mut |event| events.push(event));
    let from = dialect(from.name()).name();
    let mut writer = dialect(to).stream_writer(frame(from, folder));
    let mut out = Vec::new();
    for event in events {
        writer.write(event, &mut out);
    }
    writer.finish(&mut out);
    String::from_utf8(out).expect("text").replace('\r', "")
}

fn streams(folder: &Path) -> String {
    let mut out = String::new();
    for (from, body) in sections(&folder.join("streamed.txt")) {
        for (to, ..) in MODELS.iter().filter(|(to, ..)| *to != from) {
            if !askable(folder, to, &from) {
                continue;
            }
            let text = streamed(dialect(&from), &body, to, folder);
            writeln!(
                out,
                "=== {from} -> {to}\n{}\n",
                shortened(folder, text.trim_end())
            )
            .expect("a string takes everything");
        }
    }
    out
}

fn features() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/goldens");
    let folders = fs::read_dir(root).expect("the goldens are there");
    let mut folders: Vec<PathBuf> = folders.map(|f| f.expect("readable").path()).collect();
    folders.sort();
    folders
}

/// Every input: whether it is a request, its dialect and its text.
pub fn inputs() -> Vec<(bool, String, String)> {
    let mut all = Vec::new();
    for folder in features() {
        for file in ["asked.txt", "said.txt", "streamed.txt"] {
            let inputs = sections(&folder.join(file)).into_iter();
            all.extend(inputs.map(|(dialect, text)| (file == "asked.txt", dialect, text)));
        }
    }
    all
}

/// The first lines that differ, each with the section that it stands in.
fn difference(file: &str, kept: &str, made: &str) -> String {
    let (mut section, mut out, mut shown) = ("", format!("{file} is not what is made now:\n"), 0);
    let (kept, made): (Vec<&str>, Vec<&str>) = (kept.lines().collect(), made.lines().collect());
    for at in 0..kept.len().max(made.len()) {
        let (old, new) = (kept.get(at).copied(), made.get(at).copied());
        section = old.filter(|l| l.starts_with("=== ")).unwrap_or(section);
        if old != new {
            shown += 1;
            let (old, new) = (old.unwrap_or("(nothing)"), new.unwrap_or("(nothing)"));
            writeln!(out, "line {} in {section}\n  - {old}\n  + {new}", at + 1)
                .expect("a string takes everything");
        }
        if shown == 10 {
            out.push_str("and more\n");
            break;
        }
    }
    out + "If this is right: FLYBALL_GOLDENS=write cargo test goldens, and read the diff.\n"
}

#[test]
fn every_request_answer_and_stream_is_said_as_its_file_says() {
    let writes = std::env::var("FLYBALL_GOLDENS").is_ok_and(|word| word == "write");
    let mut wrong = String::new();
    let mut cells = 0;
    for folder in features() {
        for (file, made) in [
            ("requests.txt", requests(&folder)),
            ("answers.txt", answers(&folder)),
            ("streams.txt", streams(&folder)),
        ] {
            cells += made.matches("=== ").count();
            let path = folder.join(file);
            let kept = fs::read_to_string(&path).unwrap_or_default();
            if kept == made {
                continue;
            }
            if writes {
                fs::write(&path, &made).expect("a golden is written");
            } else {
                wrong += &difference(&path.display().to_string(), &kept, &made);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    println!("{cells} goldens");
    assert!(cells > 250, "only {cells} goldens were made");
}
