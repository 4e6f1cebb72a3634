//! A scripted provider that speaks HTTP/2 without TLS, frame by frame, so that it can also do what a well-made server never would.

use super::{chat, delta};
use crate::until::until;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What every client says first.
const PREFACE: usize = 24;
/// Types of frames (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
/// Flags.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// Reasons.
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED: u32 = 7;

/// What becomes of one request.
#[derive(Clone, Copy, Debug)]
pub enum Turn {
    /// A whole answer.
    Answer,
    /// A whole answer, once the gate is open.
    Gate,
    /// The head of a stream and a word, and nothing more.
    Begin,
    /// As much of a stream as fits into the client's window, and nothing more.
    Fill(usize),
    /// Nothing.
    Silence,
    /// Refused unread.
    Refuse,
    /// The connection goes away, and says that this request is not among what it has seen.
    LeaveBefore,
    /// The connection goes away after this request, which is answered.
    LeaveAfter,
    /// The connection breaks off, and says that this request is among what it has seen.
    Die,
}

#[derive(Default)]
struct Shared {
    turns: Mutex<VecDeque<Turn>>,
    usual: Mutex<Option<Turn>>,
    bodies: Mutex<Vec<String>>,
    resets: Mutex<Vec<u32>>,
    connections: Mutex<usize>,
    pings: Mutex<usize>,
}

/// The server.
#[derive(Clone)]
pub struct Http2Upstream {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    gate: Arc<watch::Sender<bool>>,
    /// So many streams may be open on one connection.
    streams_max: u32,
    answers_pings: bool,
}

type Writer = Arc<tokio::sync::Mutex<OwnedWriteHalf>>;

impl Http2Upstream {
    pub async fn start() -> Http2Upstream {
        Http2Upstream::with(100, true).await
    }

    pub async fn with(streams_max: u32, answers_pings: bool) -> Http2Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let upstream = Http2Upstream {
            address: listener.local_addr().expect("an address"),
            shared: Arc::default(),
            gate: Arc::new(watch::channel(false).0),
            streams_max,
            answers_pings,
        };
        let accepting = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *accepting.shared.connections.lock().unwrap() += 1;
                let serving = accepting.clone();
                tokio::spawn(async move { serving.serve(stream).await });
            }
        });
        upstream
    }

    /// What becomes of the next request.
    pub fn next(&self, turn: Turn) {
        self.shared.turns.lock().unwrap().push_back(turn);
    }

    /// What becomes of every request of which nothing else is said.
    pub fn always(&self, turn: Turn) {
        *self.shared.usual.lock().unwrap() = Some(turn);
    }

    pub fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    pub fn count(&self) -> usize {
        self.shared.bodies.lock().unwrap().len()
    }

    pub fn bodies(&self) -> Vec<String> {
        self.shared.bodies.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }

    /// The reasons of the streams that were reset.
    pub fn resets(&self) -> Vec<u32> {
        self.shared.resets.lock().unwrap().clone()
    }

    pub fn pings(&self) -> usize {
        *self.shared.pings.lock().unwrap()
    }

    pub async fn reached(&self, least: usize) {
        let what = format!("{least} requests reach the provider");
        until(&what, || self.count() >= least).await;
    }

    /// Reads frames until the connection ends.
    async fn serve(&self, stream: TcpStream) -> Option<()> {
        let _ = stream.set_nodelay(true);
        let (mut from, to) = stream.into_split();
        let to: Writer = Arc::new(tokio::sync::Mutex::new(to));
        from.read_exact(&mut [0; PREFACE]).await.ok()?;
        let most = [&[0, 3][..], &self.streams_max.to_be_bytes()].concat();
        send(&to, SETTINGS, 0, 0, &most).await;
        let mut bodies: HashMap<u32, Vec<u8>> = HashMap::new();
        loop {
            let (kind, flags, id, payload) = read(&mut from).await?;
            match kind {
                HEADERS | DATA => {
                    let body = bodies.entry(id).or_default();
                    if kind == DATA && !payload.is_empty() {
                        body.extend_from_slice(&payload);
                        let more = u32::try_from(payload.len()).unwrap().to_be_bytes();
                        send(&to, WINDOW, 0, 0, &more).await;
                        send(&to, WINDOW, 0, id, &more).await;
                    }
                    if flags & END_STREAM != 0 {
                        let body = bodies.remove(&id).unwrap_or_default();
                        self.take(&to, id, &body).await?;
                    }
                }
                RESET => {
                    let reason = u32::from_be_bytes(payload[..4].try_into().ok()?);
                    self.shared.resets.lock().unwrap().push(reason);
                }
                SETTINGS if flags & ACK == 0 => send(&to, SETTINGS, ACK, 0, &[]).await,
                PING if flags & ACK == 0 => {
                    *self.shared.pings.lock().unwrap() += 1;
                    if self.answers_pings {
                        send(&to, PING, ACK, 0, &payload).await;
                    }
                }
                _ => {}
            }
        }
    }

    /// One request is here. Gives nothing where the connection is to end.
    async fn take(&self, to: &Writer, id: u32, body: &[u8]) -> Option<()> {
        let text = String::from_utf8_lossy(body).into_owned();
        self.shared.bodies.lock().unwrap().push(text);
        let turn = self.shared.turns.lock().unwrap().pop_front();
        let usual = *self.shared.usual.lock().unwrap();
        match turn.or(usual).unwrap_or(Turn::Answer) {
            Turn::Answer => answer(to, id).await,
            Turn::Gate => {
                let (mut gate, to) = (self.gate.subscribe(), Arc::clone(to));
                tokio::spawn(async move {
                    let _ = gate.wait_for(|open| *open).await;
                    answer(&to, id).await;
                });
            }
            Turn::Begin => {
                head(to, id, "text/event-stream").await;
                send(to, DATA, 0, id, delta("first").as_bytes()).await;
            }
            Turn::Fill(bytes) => {
                head(to, id, "text/event-stream").await;
                let event = delta(&"word ".repeat(200));
                for _ in 0..bytes / event.len() {
                    send(to, DATA, 0, id, event.as_bytes()).await;
                }
            }
            Turn::Silence => {}
            Turn::Refuse => send(to, RESET, 0, id, &REFUSED.to_be_bytes()).await,
            Turn::LeaveBefore => {
                goaway(to, id - 1, NO_ERROR).await;
                // What was there before it is still answered.
            }
            Turn::LeaveAfter => {
                goaway(to, id, NO_ERROR).await;
                answer(to, id).await;
            }
            Turn::Die => {
                goaway(to, id, INTERNAL_ERROR).await;
                let _ = to.lock().await.shutdown().await;
                return None;
            }
        }
        Some(())
    }
}

async fn read(from: &mut OwnedReadHalf) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    from.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let id = u32::from_be_bytes(head[5..9].try_into().ok()?) & 0x7fff_ffff;
    let mut payload = vec![0; usize::try_from(length).ok()?];
    from.read_exact(&mut payload).await.ok()?;
    Some((head[3], head[4], id, payload))
}

async fn send(to: &Writer, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&id.to_be_bytes());
    frame.extend_from_slice(payload);
    let _ = to.lock().await.write_all(&frame).await;
}

async fn goaway(to: &Writer, last: u32, reason: u32) {
    let payload = [last.to_be_bytes(), reason.to_be_bytes()].concat();
    send(to, GOAWAY, 0, 0, &payload).await;
}

/// `:status 200` from the static table, and the type as a literal that is kept nowhere (RFC 7541, 6.1 and 6.2.2).
async fn head(to: &Writer, id: u32, kind: &str) {
    let mut block = vec![0x88, 0x00];
    for text in ["content-type", kind] {
        block.push(u8::try_from(text.len()).unwrap());
        block.extend_from_slice(text.as_bytes());
    }
    send(to, HEADERS, END_HEADERS, id, &block).await;
}

async fn answer(to: &Writer, id: u32) {
    head(to, id, "application/json").await;
    send(to, DATA, END_STREAM, id, chat(10, 5).as_bytes()).await;
}
