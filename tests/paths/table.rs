//! The kinds of call, and what may happen to each. A new kind is one more [`Kind`] in [`KINDS`].

use super::script::What;

/// How its answer travels, and in which words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    Chat,
    ChatStream,
    Embeddings,
    Legacy,
    LegacyStream,
    /// JSON that tells nothing of tokens.
    Json(&'static str),
    Count,
}

/// One kind of call.
pub struct Kind {
    pub name: &'static str,
    /// The kind of its provider.
    pub provider: &'static str,
    pub method: &'static str,
    pub path: &'static str,
    pub headers: &'static [(&'static str, &'static str)],
    pub body: fn() -> String,
    pub wire: Wire,
    /// What of it reaches the client as it comes; else it is held until it is whole.
    pub flows: bool,
    /// What may happen to it without a cap.
    pub open: &'static [&'static [What]],
    /// What may happen to it under a cap that has room.
    pub room: &'static [&'static [What]],
    /// Whose money it is, when the provider answers.
    pub money: &'static [Money],
}

impl Kind {
    /// Addresses in its answer become addresses here, so that it is held up to a larger size than what is only metered.
    pub fn is_rewritten(&self) -> bool {
        self.name == "batches, Anthropic's"
    }
}

/// Whose money it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    pub name: &'static str,
    /// The caps of the caller's key; without any, nobody needs a key.
    pub cap: Option<&'static str>,
    /// `x-flyball-max-cost-usd`.
    pub most: Option<&'static str>,
    /// What the models cost is known.
    pub priced: bool,
    /// Said above its line.
    pub note: &'static str,
}

const fn money(name: &'static str, cap: Option<&'static str>, most: Option<&'static str>) -> Money {
    Money {
        name,
        cap,
        most,
        priced: true,
        note: "",
    }
}

pub const OPEN: Money = money("no cap", None, None);
pub const ROOM: Money = money("cap $10", Some("10usd/day"), None);
const FULL: Money = money("cap full", Some("0.000001usd/day"), None);
const NEARLY: Money = money("cap nearly full", Some("0.005usd/day"), None);
const TOKENS: Money = money("cap 100k tokens", Some("100000tokens/day"), None);
const FEW_TOKENS: Money = money("cap 1k tokens", Some("1000tokens/day"), None);
const REQUESTS: Money = money("cap 9 requests", Some("9requests/day"), None);
const NO_REQUESTS: Money = money("cap 0 requests", Some("0requests/day"), None);
const ELSEWHERE: Money = money("cap, other model", Some("10usd/day model=m-big"), None);
const MOST_SMALL: Money = money("max-cost too small", None, Some("0.000001"));
const MOST_LOWERS: Money = money("max-cost nearly", None, Some("0.005"));
const MOST_ROOM: Money = money("max-cost $1", None, Some("1"));
const UNPRICED: Money = Money {
    priced: false,
    ..money("no price", None, None)
};
const UNPRICED_CAP: Money = Money {
    priced: false,
    ..money("no price, cap $10", Some("10usd/day"), None)
};

const EVERY_MONEY: &[Money] = &[
    FULL,
    NEARLY,
    TOKENS,
    FEW_TOKENS,
    REQUESTS,
    NO_REQUESTS,
    ELSEWHERE,
    MOST_SMALL,
    MOST_LOWERS,
    MOST_ROOM,
    UNPRICED,
    UNPRICED_CAP,
];

/// The same for streams, as far as it could be another.
const STREAM_MONEY: &[Money] = &[FULL, NEARLY, MOST_SMALL, MOST_LOWERS];

/// For what no cap on money can hold.
const UNBOUNDED: &[Money] = &[
    ROOM,
    FULL,
    TOKENS,
    REQUESTS,
    NO_REQUESTS,
    ELSEWHERE,
    MOST_SMALL,
    MOST_ROOM,
    UNPRICED,
];

const ANY: &[What] = &[
    What::Ok,
    What::Unreadable,
    What::Status(400),
    What::Status(404),
    What::Status(429),
    What::Status(500),
    What::Status(503),
    What::BrokenError(400),
    What::BrokenError(503),
    What::Redirect,
    What::NotThere,
    What::HangsUp,
    What::Silent,
    What::Stalls,
    What::Reset,
    What::Closed,
    What::GoneBefore,
    What::GoneAfter,
];
const USAGE: &[What] = &[What::NoUsage, What::NullUsage, What::Anomaly];
const STREAM: &[What] = &[What::EndsEarly, What::WholeForStream, What::GoneAtEnd];
const STOPS: &[What] = &[What::GoneAfterStops];
const LONG: &[What] = &[What::Long, What::LongReset];
const LONG_HELD: &[What] = &[What::Long];

const BOUNDED: &[What] = &[
    What::Ok,
    What::NoUsage,
    What::NullUsage,
    What::Above,
    What::Anomaly,
    What::Unreadable,
    What::Status(429),
    What::Status(500),
    What::Redirect,
    What::NotThere,
    What::Silent,
    What::Reset,
    What::GoneBefore,
    What::GoneAfter,
];
const BOUNDED_STREAM: &[What] = &[
    What::Ok,
    What::NoUsage,
    What::NullUsage,
    What::Above,
    What::Anomaly,
    What::Status(429),
    What::Status(500),
    What::Redirect,
    What::NotThere,
    What::Stalls,
    What::Reset,
    What::EndsEarly,
    What::WholeForStream,
    What::GoneBefore,
    What::GoneAfter,
    What::GoneAtEnd,
];

const ANTHROPIC: &[(&str, &str)] = &[("anthropic-version", "2026-10-21")];
const MULTIPART: &[(&str, &str)] = &[("content-type", "multipart/form-data; boundary=b")];

fn chat() -> String {
    r#"{"model":"m-small","max_tokens":1000,"messages":[{"role":"user","content":"What is the capital of France?"}]}"#.into()
}

fn streamed(body: &str) -> String {
    body.replacen('{', "{\"stream\":true,", 1)
}

fn chat_stream() -> String {
    streamed(&chat())
}

fn auto() -> String {
    chat().replace("m-small", "auto")
}

fn auto_stream() -> String {
    streamed(&auto())
}

fn embed() -> String {
    r#"{"model":"e-model","input":["what is near","what is far"]}"#.into()
}

fn legacy() -> String {
    r#"{"model":"m-small","prompt":"count to three","max_tokens":1000}"#.into()
}

fn legacy_stream() -> String {
    streamed(&legacy())
}

/// Three letters a word and one token: the rough bound of it is four times its count.
fn long_chat() -> String {
    let word = " the";
    chat()
        .replace("m-small", "m-exact")
        .replace("What", &word.repeat(2_500))
}

/// One token, seventeen bytes.
fn longer_chat() -> String {
    let word = " responsibilities";
    chat()
        .replace("m-small", "m-exact")
        .replace("1000", "4000")
        .replace("What", &word.repeat(2_100))
}

fn long_embed() -> String {
    embed()
        .replace("e-model", "text-embedding-net")
        .replace("what", &" the".repeat(1_250))
}

fn upload() -> String {
    "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b--\r\n".into()
}

fn nothing() -> String {
    String::new()
}

const CHAT: Kind = Kind {
    name: "chat",
    provider: "openai-compatible",
    method: "POST",
    path: "/v1/chat/completions",
    headers: &[],
    body: chat,
    wire: Wire::Chat,
    flows: false,
    open: &[ANY, USAGE, LONG, STOPS],
    room: &[BOUNDED],
    money: EVERY_MONEY,
};

const CHAT_STREAM: Kind = Kind {
    name: "chat stream",
    body: chat_stream,
    wire: Wire::ChatStream,
    flows: true,
    open: &[ANY, USAGE, STREAM, STOPS],
    room: &[BOUNDED_STREAM, STOPS],
    money: STREAM_MONEY,
    ..CHAT
};

const LEGACY: Kind = Kind {
    name: "legacy",
    path: "/v1/completions",
    body: legacy,
    wire: Wire::Legacy,
    room: &[],
    money: UNBOUNDED,
    ..CHAT
};

const LEGACY_STREAM: Kind = Kind {
    name: "legacy stream",
    body: legacy_stream,
    wire: Wire::LegacyStream,
    flows: true,
    open: &[ANY, USAGE, STREAM, STOPS],
    money: &[ROOM, REQUESTS],
    ..LEGACY
};

const FILES: Kind = Kind {
    name: "files",
    provider: "openai",
    path: "/v1/files",
    headers: MULTIPART,
    body: upload,
    wire: Wire::Json(r#"{"id":"file-1","object":"file","purpose":"batch"}"#),
    flows: true,
    open: &[ANY],
    ..LEGACY
};

const COUNT: Kind = Kind {
    name: "count",
    provider: "anthropic",
    path: "/v1/messages/count_tokens",
    headers: ANTHROPIC,
    wire: Wire::Count,
    open: &[ANY, LONG_HELD],
    money: &[ROOM, FULL, NO_REQUESTS, MOST_SMALL],
    room: &[],
    ..CHAT
};

/// Every kind of call, in the order of the table.
pub static KINDS: &[Kind] = &[
    CHAT,
    CHAT_STREAM,
    Kind {
        name: "routed",
        body: auto,
        money: &[
            FULL,
            NEARLY,
            MOST_SMALL,
            MOST_LOWERS,
            UNPRICED,
            UNPRICED_CAP,
        ],
        ..CHAT
    },
    Kind {
        name: "routed stream",
        body: auto_stream,
        ..CHAT_STREAM
    },
    Kind {
        name: "translated",
        path: "/v1/messages",
        headers: ANTHROPIC,
        open: &[ANY, USAGE, LONG_HELD],
        ..CHAT
    },
    Kind {
        name: "translated stream",
        path: "/v1/messages",
        headers: ANTHROPIC,
        open: &[ANY, USAGE, STREAM],
        room: &[BOUNDED_STREAM],
        ..CHAT_STREAM
    },
    Kind {
        name: "embed",
        path: "/v1/embeddings",
        body: embed,
        wire: Wire::Embeddings,
        open: &[ANY, USAGE, LONG],
        ..CHAT
    },
    Kind {
        name: "embed translated",
        provider: "gemini",
        path: "/api/embed",
        body: embed,
        wire: Wire::Json(r#"{"embeddings":[{"values":[0.25,-1.5]},{"values":[3.0,0.1]}]}"#),
        open: &[ANY, LONG_HELD],
        room: &[&[
            What::Ok,
            What::Unreadable,
            What::Status(429),
            What::Status(500),
            What::Reset,
            What::GoneBefore,
            What::GoneAfter,
        ]],
        ..CHAT
    },
    LEGACY,
    LEGACY_STREAM,
    Kind {
        name: "pass chat",
        path: "/p/up/v1/chat/completions",
        room: &[],
        money: UNBOUNDED,
        ..CHAT
    },
    Kind {
        name: "pass chat stream",
        path: "/p/up/v1/chat/completions",
        room: &[],
        money: &[ROOM, REQUESTS],
        ..CHAT_STREAM
    },
    Kind {
        name: "pass embed",
        path: "/p/up/v1/embeddings",
        body: embed,
        wire: Wire::Embeddings,
        open: &[ANY, USAGE],
        room: &[],
        money: UNBOUNDED,
        ..CHAT
    },
    Kind {
        name: "pass other",
        path: "/p/up/v1/images/generations",
        wire: Wire::Json(r#"{"created":1,"data":[{"url":"https://up.example/a.png"}]}"#),
        flows: false,
        open: &[ANY, LONG],
        ..FILES_LIKE
    },
    Kind {
        name: "pass GET",
        method: "GET",
        path: "/p/up/v1/models",
        body: nothing,
        wire: Wire::Json(r#"{"object":"list","data":[{"id":"m-small"}]}"#),
        ..FILES_LIKE
    },
    FILES,
    Kind {
        name: "batches",
        path: "/v1/batches",
        headers: &[],
        wire: Wire::Json(r#"{"id":"batch_1","object":"batch","status":"validating"}"#),
        body: || r#"{"input_file_id":"file-1","endpoint":"/v1/chat/completions"}"#.into(),
        // What was made is noted before its client hears of it.
        flows: false,
        ..FILES
    },
    Kind {
        name: "batches, Anthropic's",
        provider: "anthropic",
        path: "/v1/messages/batches",
        headers: ANTHROPIC,
        body: || {
            format!(
                r#"{{"requests":[{{"custom_id":"a","params":{}}}]}}"#,
                chat()
            )
        },
        wire: Wire::Json(
            r#"{"id":"b","results_url":"https://up.example/v1/messages/batches/b/results"}"#,
        ),
        flows: false,
        open: &[ANY, LONG],
        ..FILES
    },
    COUNT,
    Kind {
        name: "count here",
        provider: "openai-compatible",
        open: &[&[What::Ok]],
        money: &[ROOM, FULL],
        ..COUNT
    },
    // What is counted exactly where the rough bound alone is in the way.
    Kind {
        name: "chat counted",
        provider: "openai",
        body: long_chat,
        open: &[&[What::Ok]],
        room: &[],
        money: &[
            money("cap $0.05", Some("0.05usd/day"), None),
            Money {
                note: "the prompt is counted before the caller's own limit refuses it, as before a cap does",
                ..money("max-cost $0.05", None, Some("0.05"))
            },
        ],
        ..CHAT
    },
    Kind {
        name: "chat shortened",
        provider: "openai",
        body: longer_chat,
        open: &[&[What::Ok]],
        room: &[],
        money: &[
            Money {
                note: "the prompt is counted before a limit is lowered: all 4,000 tokens fit",
                ..money("cap $0.20", Some("0.2usd/day"), None)
            },
            money("max-cost $0.20", None, Some("0.2")),
            money("cap $0.10", Some("0.1usd/day"), None),
        ],
        ..CHAT
    },
    Kind {
        name: "embed counted",
        provider: "openai",
        path: "/v1/embeddings",
        body: long_embed,
        wire: Wire::Embeddings,
        open: &[&[What::Ok]],
        room: &[],
        money: &[
            money("cap $0.01", Some("0.01usd/day"), None),
            Money {
                note: "embeddings are counted for the caller's own limit too",
                ..money("max-cost $0.01", None, Some("0.01"))
            },
            money("cap $0.001", Some("0.001usd/day"), None),
        ],
        ..CHAT
    },
];

const FILES_LIKE: Kind = Kind {
    provider: "openai-compatible",
    headers: &[],
    body: chat,
    ..FILES
};

/// `flyball.toml` for a call of this kind.
pub fn config(kind: &Kind, what: What, money: &Money, url: &str) -> String {
    let provider = match what {
        What::GoneAfterStops => "llamacpp",
        _ => kind.provider,
    };
    let model = |name: &str, more: &str, input: u32, output: u32| {
        let price = format!("input_usd_per_mtok = {input}\noutput_usd_per_mtok = {output}\n");
        let price = if money.priced { price } else { String::new() };
        format!("[[model]]\nname = \"{name}\"\nprovider = \"up\"\n{more}\n{price}\n")
    };
    let answers = |tier: &str| format!("tier = \"{tier}\"\nefforts = []\nanswer_tokens_max = 4000");
    format!(
        "{}\n[[provider]]\nname = \"up\"\nkind = \"{provider}\"\nbase_url = \"{url}\"\napi_key = \"file:key\"\n\n{}{}{}{}{}",
        what.limits(kind),
        model("m-small", &answers("small"), 1, 10),
        model("m-big", &answers("reasoning"), 10, 100),
        model("m-exact", &answers("standard"), 5, 20),
        model("e-model", "embeddings = true", 2, 0),
        model("text-embedding-net", "embeddings = true", 2, 0),
    )
}

/// What is routed goes to the small model, and then to the large one.
pub const RULE: &str = "[[rule]]\nname = \"own\"\nwhy = \"a test\"\nroute = { arm = \"m-small\", fallback = [\"reasoning\"] }\n";
