//! How much, how many and how long: the limits of a connection and of an exchange, each with its reason.

use std::time::Duration;

/// The limits that keep memory bounded and every wait finite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest request body, in bytes.
    pub body_bytes_max: usize,
    /// Client connections open at once.
    pub connections_max: usize,
    /// Requests that a client may have open at once on one connection over HTTP/2.
    pub streams_max: u32,
    /// How long connecting to a provider may take, TLS included.
    pub connect: Duration,
    /// How long a provider may take from the whole request to the first byte of a streamed answer.
    pub first_byte: Duration,
    /// How long a provider may send no byte inside an answer; also how long a client may take nothing of it.
    pub idle: Duration,
    /// How long the model may say no word of a streamed answer while its server shows that it lives: by pings, comments, empty events.
    pub silent: Duration,
    /// The longest answer: a stream from its first byte to its last, a whole one from the request to its last byte.
    pub total: Duration,
    /// The largest request head, in bytes.
    pub head_bytes_max: usize,
    /// How long a client may take to send a request's head; also how long an idle connection stays open.
    pub client_head: Duration,
    /// How long a client may take to send its whole request.
    pub client_body: Duration,
    /// How long open answers may go on after a stop is asked for.
    pub grace: Duration,
}

impl Limits {
    /// The longest that one attempt may take, from connecting to its last byte.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.connect + self.first_byte + self.total
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            // Anthropic takes at most 32 MB in a Messages request; nobody takes a larger prompt inline.
            body_bytes_max: 32 * 1024 * 1024,
            // Each may hold two file descriptors, its own and the provider's, and some tens of KiB; a small machine has room for that.
            // `server::make_room` lowers it where fewer files may be open.
            connections_max: 4096,
            // What servers usually allow (RFC 9113, 6.5.2, asks for no less than 100); a client that wants more opens another connection.
            streams_max: 100,
            // Three SYN packets (0 s, 1 s, 3 s) and a handshake fit; a host that needs longer is down, and another arm can still answer.
            connect: Duration::from_secs(5),
            // A stream begins before its first word; where not even its head comes for so long, the server hangs.
            first_byte: Duration::from_secs(120),
            // Servers that think in silence for longer send pings or comments meanwhile; where nothing comes at all, the connection is dead.
            idle: Duration::from_secs(120),
            // As long as OpenAI's and Anthropic's SDKs wait for an answer without a word in it.
            silent: Duration::from_secs(10 * 60),
            // 128,000 tokens, the longest answer on offer, at 75 tokens a second take just under 30 minutes; the usual SDK gives up after 10,
            // so that a whole answer never fails for flyball's sake before its client has given up.
            total: Duration::from_secs(30 * 60),
            // Keys, tags and trace headers fit many times over; hyper's own default would be 400 KB a connection.
            head_bytes_max: 64 * 1024,
            // A head is one packet; SDKs keep idle connections for a few seconds to a minute and open new ones when these are closed.
            client_head: Duration::from_secs(30),
            // 32 MiB in 30 s is 9 Mbit/s, a modest uplink; slower than that is most likely somebody holding connections open.
            client_body: Duration::from_secs(30),
            // What starts and stops services (systemd, Kubernetes) kills after 30 to 90 s; a stream that is cut costs what it was to cost.
            grace: Duration::from_secs(30),
        }
    }
}
