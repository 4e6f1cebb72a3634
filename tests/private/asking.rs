//! One request for each way in which text can come.

use serde_json::{Value, json};

/// Where a text stands, and in whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Chat,
    ChatStream,
    System,
    ToolResult,
    ToolArguments,
    Parts,
    History,
    Responses,
    ResponsesOutput,
    Messages,
    MessagesResult,
    Gemini,
    GeminiStream,
    Ollama,
    Generate,
    Cohere,
    Embeddings,
    Legacy,
    Passed,
    PassedText,
    Count,
    File,
    Batch,
}

pub const WAYS: [Way; 23] = [
    Way::Chat,
    Way::ChatStream,
    Way::System,
    Way::ToolResult,
    Way::ToolArguments,
    Way::Parts,
    Way::History,
    Way::Responses,
    Way::ResponsesOutput,
    Way::Messages,
    Way::MessagesResult,
    Way::Gemini,
    Way::GeminiStream,
    Way::Ollama,
    Way::Generate,
    Way::Cohere,
    Way::Embeddings,
    Way::Legacy,
    Way::Passed,
    Way::PassedText,
    Way::Count,
    Way::File,
    Way::Batch,
];

impl Way {
    /// A local model can answer it.
    pub fn stays(self) -> bool {
        let provider_only = matches!(
            self,
            Way::Embeddings | Way::Legacy | Way::Passed | Way::PassedText | Way::File | Way::Batch
        );
        !provider_only && !self.is_count()
    }

    /// It asks for a count, which can be made without anybody.
    pub fn is_count(self) -> bool {
        self == Way::Count
    }

    /// A model elsewhere that takes it as it is.
    pub fn away(self) -> &'static str {
        match self {
            Way::Count => "claude-x",
            Way::Embeddings => "embed-x",
            _ => "m-small",
        }
    }
}

/// A request.
pub struct Asking {
    path: String,
    headers: String,
    kind: &'static str,
    pub body: String,
}

impl Asking {
    pub fn of(way: Way, model: &str, text: &str) -> Asking {
        let model = match (way, model) {
            (Way::Embeddings, "auto") => "embed-x",
            (Way::Legacy | Way::Passed | Way::PassedText, "auto") => "m-small",
            (_, model) => model,
        };
        let path = match way {
            Way::Responses | Way::ResponsesOutput => "/v1/responses".to_owned(),
            Way::Messages | Way::MessagesResult => "/v1/messages".to_owned(),
            Way::Count => "/v1/messages/count_tokens".to_owned(),
            Way::Gemini => format!("/v1beta/models/{model}:generateContent"),
            Way::GeminiStream => format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            Way::Ollama => "/api/chat".to_owned(),
            Way::Generate => "/api/generate".to_owned(),
            Way::Cohere => "/v2/chat".to_owned(),
            Way::Embeddings => "/v1/embeddings".to_owned(),
            Way::Legacy => "/v1/completions".to_owned(),
            Way::Passed => "/p/up/v1/chat/completions".to_owned(),
            Way::PassedText => "/p/up/v1/notes".to_owned(),
            Way::File => "/v1/files".to_owned(),
            Way::Batch => "/v1/batches".to_owned(),
            _ => "/v1/chat/completions".to_owned(),
        };
        let headers = match way {
            Way::Messages | Way::MessagesResult | Way::Count => "anthropic-version: 2026-10-21\r\n",
            _ => "",
        }
        .to_owned();
        let kind = match way {
            Way::File => "multipart/form-data; boundary=XyZ",
            Way::PassedText => "text/plain; charset=utf-8",
            _ => "application/json",
        };
        let body = match way {
            Way::File => {
                let line = json!({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body(Way::Chat, model, text)});
                format!(
                    "--XyZ\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--XyZ\r\ncontent-disposition: form-data; name=\"file\"; filename=\"b.jsonl\"\r\n\r\n{line}\n\r\n--XyZ--\r\n"
                )
            }
            Way::PassedText => text.to_owned(),
            way => body(way, model, text).to_string(),
        };
        Asking {
            path,
            headers,
            kind,
            body,
        }
    }

    /// The same, and it can wait.
    pub fn late(mut self) -> Asking {
        self.headers.push_str("x-flyball-deadline: 10m\r\n");
        self
    }

    /// The same with this in the place of what it says, as it stands in the body.
    pub fn with(mut self, from: &str, to: &str) -> Asking {
        self.body = self.body.replace(from, to);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let Asking {
            path,
            headers,
            kind,
            body,
        } = self;
        format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: {kind}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }
}

fn body(way: Way, model: &str, text: &str) -> Value {
    let user = |content: Value| json!({"role": "user", "content": content});
    let said = || user(text.into());
    let tool = json!([{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]);
    let call = |arguments: String| json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": arguments}}]});
    match way {
        Way::ChatStream => json!({"model": model, "stream": true, "messages": [said()]}),
        Way::System => {
            json!({"model": model, "messages": [{"role": "system", "content": text}, user("Hello?".into())]})
        }
        Way::ToolResult => {
            json!({"model": model, "tools": tool, "messages": [user("Look.".into()), call("{}".into()), {"role": "tool", "tool_call_id": "c1", "content": text}]})
        }
        Way::ToolArguments => {
            json!({"model": model, "tools": tool, "messages": [user("Look.".into()), call(json!({"at": text}).to_string()), {"role": "tool", "tool_call_id": "c1", "content": "found"}]})
        }
        Way::Parts => {
            let middle = text
                .char_indices()
                .nth(text.chars().count() / 2)
                .map_or(0, |(at, _)| at);
            let (first, second) = text.split_at(middle);
            json!({"model": model, "messages": [user(json!([{"type": "text", "text": first}, {"type": "text", "text": second}]))]})
        }
        Way::History => {
            json!({"model": model, "messages": [said(), {"role": "assistant", "content": "I see."}, user("Thanks. What is the capital of France?".into())]})
        }
        Way::Responses => json!({"model": model, "input": text}),
        Way::ResponsesOutput => json!({"model": model, "input": [
            {"type": "message", "role": "user", "content": "Look."}, {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": text}], "tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}}]}),
        Way::Messages | Way::Count => {
            json!({"model": model, "max_tokens": 64, "messages": [said()]})
        }
        Way::MessagesResult => {
            json!({"model": model, "max_tokens": 64, "tools": [{"name": "look", "input_schema": {"type": "object"}}], "messages": [
            user("Look.".into()), {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {}}]},
            user(json!([{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": text}]}]))]})
        }
        Way::Gemini | Way::GeminiStream => {
            json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
        }
        Way::Generate => json!({"model": model, "prompt": text, "stream": false}),
        Way::Ollama => json!({"model": model, "stream": false, "messages": [said()]}),
        Way::Embeddings => json!({"model": model, "input": text}),
        Way::Legacy => json!({"model": model, "prompt": text}),
        Way::Batch => {
            json!({"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {"note": text}})
        }
        _ => json!({"model": model, "messages": [said()]}),
    }
}
