//! A provider that testifies: it writes its own bill, with its own prices, before it sends a byte. The model's name says what it does.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Pico-dollars a token, as the fleet of these tests says too; the two are written down apart.
const INPUT: u64 = 1_000_000;
const OUTPUT: u64 = 10_000_000;
/// The most tokens of a picture that `o-sees` is shown.
pub const PICTURE: u64 = 1_000;

/// What it does, by the model's name.
pub const MODELS: [&str; 9] = [
    "o-exact", "o-sees", "o-some", "o-silent", "o-cut", "o-reset", "o-500", "o-429", "o-liar",
];

/// The fleet that speaks to it.
pub fn fleet(oracle: &Oracle) -> String {
    let mut toml = format!(
        "[[provider]]\nname = \"oracle\"\nkind = \"openai-compatible\"\nbase_url = \"http://{}\"\n",
        oracle.address
    );
    for name in MODELS {
        toml += &format!(
            "[[model]]\nname = \"{name}\"\nprovider = \"oracle\"\ntier = \"small\"\nefforts = []\ncontext_tokens = 1000000\nanswer_tokens_max = 100000\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 10\n"
        );
        if name == "o-sees" {
            toml += &format!("image_tokens_max = {PICTURE}\n");
        }
    }
    toml
}

struct Inner {
    file: Mutex<File>,
    billed: AtomicU64,
    requests: AtomicUsize,
    connections: AtomicUsize,
    gate: watch::Sender<bool>,
}

/// The provider.
#[derive(Clone)]
pub struct Oracle {
    pub address: SocketAddr,
    inner: Arc<Inner>,
}

impl Oracle {
    /// Starts one that writes its bill into this file.
    pub async fn start(bill: &std::path::Path) -> Oracle {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let file = File::options()
            .create(true)
            .append(true)
            .open(bill)
            .expect("a file");
        let inner = Inner {
            file: Mutex::new(file),
            billed: AtomicU64::new(0),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            gate: watch::channel(true).0,
        };
        let oracle = Oracle {
            address: listener.local_addr().expect("an address"),
            inner: Arc::new(inner),
        };
        let accepting = oracle.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let oracle = accepting.clone();
                tokio::spawn(async move {
                    oracle.inner.connections.fetch_add(1, Ordering::SeqCst);
                    oracle.serve(stream).await;
                    oracle.inner.connections.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        oracle
    }

    /// Everything billed so far, in pico-dollars.
    pub fn billed(&self) -> u64 {
        self.inner.billed.load(Ordering::SeqCst)
    }

    /// Requests that arrived.
    pub fn requests(&self) -> usize {
        self.inner.requests.load(Ordering::SeqCst)
    }

    /// Nobody is connected any more, so nothing more will be billed.
    pub fn quiet(&self) -> bool {
        self.inner.connections.load(Ordering::SeqCst) == 0
    }

    /// Answers wait after they are billed (true), or go out.
    pub fn hold(&self, held: bool) {
        self.inner.gate.send_replace(!held);
    }

    async fn serve(&self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut buffer = Vec::new();
        while let Some(body) = read_body(&mut stream, &mut buffer).await {
            let number = self.inner.requests.fetch_add(1, Ordering::SeqCst);
            let asked: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let model = asked["model"].as_str().unwrap_or_default().to_owned();
            let limit = asked["max_tokens"]
                .as_u64()
                .or(asked["max_completion_tokens"].as_u64())
                .unwrap_or(400);
            let streamed = asked["stream"] == true;
            // What flyball adds to have the usage told is no prompt.
            let added = r#""stream_options":{"include_usage":true}"#;
            let own = match String::from_utf8_lossy(&body).contains(added) {
                true => body.len() - added.len() - 1,
                false => body.len(),
            };
            let (pictures, shown) = pictures(&asked);
            let own = u64::try_from(own - shown).expect("small");
            let (input, output) = usage(&model, own, limit, number);
            let input = input + pictures * PICTURE;
            if model != "o-429" {
                self.write_bill(&model, input, output);
            }
            let _ = self.inner.gate.subscribe().wait_for(|open| *open).await;
            if !answer(&mut stream, &model, streamed, input, output).await {
                return;
            }
        }
    }

    fn write_bill(&self, model: &str, input: u64, output: u64) {
        let pico = input * INPUT + output * OUTPUT;
        let mut file = self.inner.file.lock().unwrap();
        writeln!(file, "{model} {input} {output} {pico}").expect("the bill is written");
        self.inner.billed.fetch_add(pico, Ordering::SeqCst);
    }
}

/// What an answer uses. The most that it may: a token a byte, 16 for the turn, 512 for the frame; the limit.
fn usage(model: &str, bytes: u64, limit: u64, number: usize) -> (u64, u64) {
    let some = 1 + u64::try_from(number).expect("small") * 7919 % 300;
    match model {
        "o-exact" | "o-sees" => (bytes + 528, limit),
        "o-silent" => (5, some.min(limit)),
        _ => (bytes / 4 + 10, some.min(limit)),
    }
}

/// How many pictures a request shows, and how many of its bytes they are.
fn pictures(asked: &serde_json::Value) -> (u64, usize) {
    let messages = asked["messages"].as_array().into_iter().flatten();
    let parts = messages.flat_map(|m| m["content"].as_array().into_iter().flatten());
    let urls: Vec<&str> = parts
        .filter_map(|p| p["image_url"]["url"].as_str())
        .collect();
    let inline = urls.iter().filter(|url| url.starts_with("data:"));
    (urls.len() as u64, inline.map(|url| url.len() + 2).sum())
}

async fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..at]).to_lowercase();
            let length = head.lines().find_map(|l| {
                l.strip_prefix("content-length:")?
                    .trim()
                    .parse::<usize>()
                    .ok()
            });
            let end = at + 4 + length.unwrap_or(0);
            while buffer.len() < end {
                if stream.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            let body = buffer[at + 4..end].to_vec();
            buffer.drain(..end);
            return Some(body);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Sends the answer; false if the connection ends with it.
async fn answer(
    stream: &mut TcpStream,
    model: &str,
    streamed: bool,
    input: u64,
    output: u64,
) -> bool {
    let words = " hello".repeat(usize::try_from(output).expect("small"));
    let total = input + output;
    let usage = match model {
        "o-silent" => "null".to_owned(),
        "o-liar" => format!(
            "{{\"prompt_tokens\":-{input},\"completion_tokens\":\"{output}\",\"total_tokens\":1e99}}"
        ),
        _ => format!(
            "{{\"prompt_tokens\":{input},\"completion_tokens\":{output},\"total_tokens\":{total}}}"
        ),
    };
    let (status, whole) = match model {
        "o-500" => (
            500,
            "{\"error\":{\"message\":\"it broke\",\"type\":\"server_error\"}}".to_owned(),
        ),
        "o-429" => (
            429,
            "{\"error\":{\"message\":\"slow down\",\"type\":\"rate_limit_error\"}}".to_owned(),
        ),
        _ => (
            200,
            format!(
                "{{\"id\":\"c\",\"object\":\"chat.completion\",\"model\":\"{model}\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{words}\"}},\"finish_reason\":\"stop\"}}],\"usage\":{usage}}}"
            ),
        ),
    };
    if !streamed || status != 200 {
        let length = whole.len();
        let cut = matches!(model, "o-cut" | "o-reset");
        let sent = if cut { &whole[..length / 2] } else { &whole };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        let fine = stream
            .write_all(format!("{head}{sent}").as_bytes())
            .await
            .is_ok();
        return finish(stream, model, fine && !cut);
    }
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let event = |delta: &str, finish: &str, usage: &str| {
        chunk(&format!(
            "data: {{\"id\":\"c\",\"model\":\"{model}\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}],\"usage\":{usage}}}\n\n"
        ))
    };
    let mut out =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_owned();
    out += &event(&format!("{{\"content\":\"{words}\"}}"), "null", "null");
    let cut = matches!(model, "o-cut" | "o-reset");
    if !cut {
        out += &event("{}", "\"stop\"", "null");
        if usage != "null" {
            out += &chunk(&format!(
                "data: {{\"id\":\"c\",\"model\":\"{model}\",\"choices\":[],\"usage\":{usage}}}\n\n"
            ));
        }
        out += &chunk("data: [DONE]\n\n");
        out += "0\r\n\r\n";
    }
    let fine = stream.write_all(out.as_bytes()).await.is_ok();
    finish(stream, model, fine && !cut)
}

fn finish(stream: &TcpStream, model: &str, going: bool) -> bool {
    if model == "o-reset" {
        #[allow(deprecated, reason = "the one portable way to a RST")]
        let _ = stream.set_linger(Some(std::time::Duration::ZERO));
    }
    going
}
