//! Simulated models: an HTTP/1.1 server on loopback that speaks OpenAI Chat Completions, OpenAI's embeddings and Anthropic
//! Messages, so that flyball can be tried and tested without a provider, through its ordinary upstream code.
//!
//! There is no model behind it: every answer in words starts with `[simulated] ` and every response carries
//! `x-flyball-simulated: 1`. Lengths, words and token counts follow from a hash of (seed, model, effort, prompt);
//! tokens are 1.3 a word, not a tokenizer's. What of a prompt was cached follows from what was asked before, as at a
//! vendor; how long it stays cached is real time. Simulated time is compressed: reasoning takes at most 1.5 s and a
//! whole answer at most 3 s at speed 1, however many tokens they have. A tool that is forced, or that the user asks for by name,
//! is called with the least that its schema takes, and where a schema is demanded of the answer it is that alone; `stop` is accepted
//! and changes nothing. Never listens on anything but loopback, never opens a connection.

mod answer;
mod anthropic;
mod ask;
mod cache;
mod embed;
mod frames;
pub mod model;
mod openai;
mod prefix;
mod schema;
mod serve;
mod tools;
mod words;

pub(crate) use words::Dice;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serve::Shared;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// More connections than this wait in the kernel's queue: each holds a prompt and an answer in memory.
const CONNECTIONS_MAX: usize = 2_048;
/// A request's head must have arrived by then.
const HEAD_TIME_MAX: Duration = Duration::from_secs(60);

/// How the models behave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Another seed, other answers.
    pub seed: u64,
    /// 1.0 is lifelike, 10.0 ten times faster. Above zero and finite.
    pub speed: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            seed: 1,
            speed: 1.0,
        }
    }
}

/// What the models did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimServed {
    /// Completions begun; refused requests do not count.
    pub requests: u64,
    /// Completions made to their end.
    pub finished: u64,
    /// Output tokens made, reasoning included.
    pub tokens: u64,
}

/// The running server. Dropping it ends the server and cuts its connections.
pub struct Simulated {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

impl Simulated {
    /// What the models did so far.
    #[must_use]
    pub fn served(&self) -> SimServed {
        SimServed {
            requests: self.shared.requests.load(Ordering::Relaxed),
            finished: self.shared.finished.load(Ordering::Relaxed),
            tokens: self.shared.tokens.load(Ordering::Relaxed),
        }
    }

    /// Ends the server and cuts its connections.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Starts the simulated models on a free port of 127.0.0.1.
///
/// # Errors
/// `InvalidInput` for a speed that is not above zero and finite; otherwise the system refused a listener.
pub async fn start(settings: Settings) -> std::io::Result<Simulated> {
    if !(settings.speed.is_finite() && settings.speed > 0.0) {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "the speed of simulated models must be above zero",
        ));
    }
    // Slower than this and a time divided by the speed could overflow.
    let settings = Settings {
        speed: settings.speed.max(1e-6),
        ..settings
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let shared = Arc::new(Shared::new(settings));
    let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
    Ok(Simulated {
        address,
        shared,
        accepting,
    })
}

/// Accepts until aborted; the connections live in the set, so they end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(connection(socket, Arc::clone(&shared)));
                }
                // Out of file descriptors, as a rule: wait for some to be closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
    }
}

async fn connection(socket: TcpStream, shared: Arc<Shared>) {
    // Small events must not wait for each other; a socket that refuses the option works all the same.
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(serve::exchange(shared, request).await) }
    });
    // An error here is the client's going away, which is no news.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

#[cfg(test)]
mod tests;
