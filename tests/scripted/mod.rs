//! A scripted upstream: does exactly what a test says, byte for byte, and remembers what it was sent.

pub mod http2;

use crate::until::{until, within};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// One step of an answer.
#[derive(Clone, Debug)]
pub enum Step {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Wait so long.
    Gap(Duration),
    /// Send nothing more and keep the connection open until the peer closes it.
    Stall,
    /// Cut the connection hard.
    Reset,
    /// Wait until the test opens the gate.
    Gate,
    /// Send these bytes so many times; the gate opens when the peer takes no more of them, or has taken all.
    Flood(Vec<u8>, usize),
    /// Close the connection cleanly, whether or not the answer is whole.
    Close,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: String,
    pub body: String,
    /// The body as it came, where that is no text.
    pub bytes: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<String> {
        let prefix = format!("{}:", name.to_lowercase());
        self.head
            .lines()
            .find(|l| l.to_lowercase().starts_with(&prefix))
            .map(|l| l[prefix.len()..].trim().to_owned())
    }
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    scripts: Mutex<VecDeque<Vec<Step>>>,
    default: Mutex<Vec<Step>>,
    /// What flyball's own calls are answered with, where they are told apart from its clients'.
    own: Mutex<Option<Vec<Step>>>,
    /// What a request is answered with whose body names this model.
    by_model: Mutex<Vec<(String, Vec<Step>)>>,
    cut: Mutex<usize>,
    connections: Mutex<usize>,
    stalling: watch::Sender<bool>,
}

/// The server.
#[derive(Clone)]
pub struct Upstream {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    gate: Arc<watch::Sender<bool>>,
    /// So many connections were closed by the peer while an answer was being sent.
    closed_by_peer: Arc<watch::Sender<usize>>,
}

/// An address where nobody listens, as long as this is kept.
pub struct Nobody(TcpSocket);

impl Nobody {
    pub fn new() -> Nobody {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind(([127, 0, 0, 1], 0).into())
            .expect("a free port");
        Nobody(socket)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().expect("an address"))
    }
}

impl Upstream {
    /// Starts one that answers everything with `steps`.
    pub async fn start(steps: Vec<Step>) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (gate, _) = watch::channel(false);
        let upstream = Upstream {
            address,
            shared: Arc::default(),
            gate: Arc::new(gate),
            closed_by_peer: Arc::new(watch::channel(0).0),
        };
        *upstream.shared.default.lock().unwrap() = steps;
        let accepting = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *accepting.shared.connections.lock().unwrap() += 1;
                tokio::spawn(accepting.clone().serve(stream));
            }
        });
        upstream
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers the next request with these steps, before the default comes again.
    pub fn next(&self, steps: Vec<Step>) {
        self.shared.scripts.lock().unwrap().push_back(steps);
    }

    /// Answers requests for this model with these steps, where nothing else is said of the next one.
    pub fn answers(&self, model: &str, steps: Vec<Step>) {
        let named = format!("\"{model}\"");
        self.shared.by_model.lock().unwrap().push((named, steps));
    }

    /// What flyball asks of its own accord is told that nothing is known now: no script is taken for it, and it is not remembered.
    pub fn tells_only_clients(&self) {
        let busy = b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n".to_vec();
        *self.shared.own.lock().unwrap() = Some(vec![Step::Send(busy)]);
    }

    /// What a call of flyball's own is answered with, where that is told apart.
    fn own_script(&self, seen: &Seen) -> Option<Vec<Step>> {
        let agent = seen.header("user-agent")?;
        let own = self.shared.own.lock().unwrap();
        own.clone().filter(|_| agent.starts_with("flyball/"))
    }

    /// What a request is answered with.
    fn script(&self, seen: &Seen) -> Vec<Step> {
        if let Some(next) = self.shared.scripts.lock().unwrap().pop_front() {
            return next;
        }
        let by_model = self.shared.by_model.lock().unwrap();
        let named = by_model.iter().find(|(named, _)| seen.body.contains(named));
        match named {
            Some((_, steps)) => steps.clone(),
            None => self.shared.default.lock().unwrap().clone(),
        }
    }

    /// Answers requests with these steps from now on, where nothing else is said of the next one.
    pub fn always(&self, steps: Vec<Step>) {
        *self.shared.default.lock().unwrap() = steps;
    }

    /// Answers the next request with these steps and with none that were left over.
    pub fn only(&self, steps: Vec<Step>) {
        *self.shared.scripts.lock().unwrap() = VecDeque::from([steps]);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }

    pub fn count(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    /// Lets everything through that waits at a gate.
    pub fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Waits until the peer has closed a connection on which an answer was being sent.
    pub async fn peer_closed(&self) {
        let mut closed = self.closed_by_peer.subscribe();
        let closed = closed.wait_for(|closed| *closed > 0);
        let closed = within("the peer closes the connection", closed).await;
        closed.expect("the upstream lives");
    }

    /// Waits until so many requests have arrived.
    pub async fn reached(&self, least: usize) {
        let what = format!("{least} requests reach the provider");
        until(&what, || self.count() >= least).await;
    }

    /// How many connections were cut or closed because a script said so.
    pub fn cuts(&self) -> usize {
        *self.shared.cut.lock().unwrap()
    }

    /// Waits until an answer has come to its `Stall`: everything before it is sent.
    pub async fn stalling(&self) {
        let mut stalling = self.shared.stalling.subscribe();
        let _ = stalling.wait_for(|reached| *reached).await;
    }

    async fn serve(self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut buffer = Vec::new();
        loop {
            let Some(seen) = read_request(&mut stream, &mut buffer).await else {
                return;
            };
            let steps = match self.own_script(&seen) {
                Some(steps) => steps,
                None => {
                    let steps = self.script(&seen);
                    self.shared.seen.lock().unwrap().push(seen);
                    steps
                }
            };
            for step in steps {
                let going = match step {
                    Step::Send(bytes) => stream.write_all(&bytes).await.is_ok(),
                    Step::Gap(wait) => {
                        tokio::time::sleep(wait).await;
                        true
                    }
                    Step::Gate => {
                        let mut gate = self.gate.subscribe();
                        gate.wait_for(|open| *open).await.is_ok()
                    }
                    Step::Flood(bytes, times) => {
                        let taken = flood(&mut stream, &bytes, times).await;
                        self.open_gate();
                        if !taken {
                            let _ = stream.read(&mut [0]).await;
                            return;
                        }
                        true
                    }
                    Step::Stall => {
                        self.shared.stalling.send_replace(true);
                        let mut byte = [0_u8; 1];
                        let _ = stream.read(&mut byte).await;
                        self.closed_by_peer.send_modify(|closed| *closed += 1);
                        return;
                    }
                    Step::Reset => {
                        #[allow(deprecated, reason = "the one portable way to a RST")]
                        let _ = stream.set_linger(Some(Duration::ZERO));
                        *self.shared.cut.lock().unwrap() += 1;
                        return;
                    }
                    Step::Close => {
                        *self.shared.cut.lock().unwrap() += 1;
                        return;
                    }
                };
                if !going {
                    return;
                }
            }
        }
    }
}

/// Sends it all, unless the peer takes nothing for a while.
async fn flood(stream: &mut TcpStream, bytes: &[u8], times: usize) -> bool {
    for _ in 0..times {
        let sent = tokio::time::timeout(Duration::from_millis(500), stream.write_all(bytes));
        if !matches!(sent.await, Ok(Ok(()))) {
            return false;
        }
    }
    true
}

/// The next request on a connection; `None` where that has ended.
pub async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..at]).into_owned();
            let length = head
                .lines()
                .find_map(|l| {
                    l.to_lowercase()
                        .strip_prefix("content-length:")
                        .map(|n| n.trim().parse::<usize>().unwrap_or(0))
                })
                .unwrap_or(0);
            while buffer.len() < at + 4 + length {
                if stream.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            let bytes = buffer[at + 4..at + 4 + length].to_vec();
            let body = String::from_utf8_lossy(&bytes).into_owned();
            buffer.drain(..at + 4 + length);
            return Some(Seen { head, body, bytes });
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// A whole answer with a length.
pub fn answer(status: u16, body: &str) -> Vec<Step> {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nx-request-id: up-1\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    vec![Step::Send(format!("{head}{body}").into_bytes())]
}

/// The head of a stream.
pub fn stream_head() -> Step {
    Step::Send(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec(),
    )
}

/// One piece of a stream.
pub fn piece(text: &str) -> Step {
    Step::Send(format!("{:x}\r\n{text}\r\n", text.len()).into_bytes())
}

/// The clean end of a stream.
pub fn end() -> Step {
    Step::Send(b"0\r\n\r\n".to_vec())
}

/// A Chat Completions answer that used so many tokens.
pub fn chat(input: u64, output: u64) -> String {
    format!(
        r#"{{"id":"c1","object":"chat.completion","model":"m-up","choices":[{{"index":0,"message":{{"role":"assistant","content":"hi there"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{}}}}}"#,
        input + output
    )
}

/// A Chat Completions event.
pub fn delta(text: &str) -> String {
    format!(
        "data: {{\"id\":\"c1\",\"model\":\"m-up\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}],\"usage\":null}}\n\n"
    )
}

/// The last events of a Chat Completions stream.
pub fn finish(input: u64, output: u64) -> [String; 3] {
    [
        "data: {\"id\":\"c1\",\"model\":\"m-up\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n".to_owned(),
        format!("data: {{\"id\":\"c1\",\"model\":\"m-up\",\"choices\":[],\"usage\":{{\"prompt_tokens\":{input},\"completion_tokens\":{output},\"total_tokens\":{}}}}}\n\n", input + output),
        "data: [DONE]\n\n".to_owned(),
    ]
}

/// A whole Chat Completions stream.
pub fn chat_stream(words: &[&str], input: u64, output: u64) -> Vec<Step> {
    let events = words.iter().map(|w| delta(w)).chain(finish(input, output));
    std::iter::once(stream_head())
        .chain(events.map(|e| piece(&e)))
        .chain([end()])
        .collect()
}
