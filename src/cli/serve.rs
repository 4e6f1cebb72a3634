//! `flyball serve`: starts, says what it found and how to try it, and serves until it is told to stop.

use super::log_line::PlainFields;
use super::{Common, ServeArgs, client, joined, runtime};
use crate::arm::Tier;
use crate::config::{self, Config, Overrides};
use crate::process::{self, Running};
use crate::route;
use crate::server;
use crate::server::listener::Inherited;
use serde_json::json;
use std::io::{IsTerminal, Write};

pub(super) fn run(common: &Common, args: &ServeArgs) -> Result<(), String> {
    let overrides = common.overrides(args);
    let config = config::load(&overrides).map_err(|all| joined(&all))?;
    start_log(config.log_json);
    // tiktoken and SQLite never run on these threads, so as many as cores are enough.
    runtime()?.block_on(serve(config, overrides))
}

pub(super) fn start_log(json: bool) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("FLYBALL_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,flyball=info"));
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(colours);
    // A second start in one process (tests) keeps the first log.
    let _ = match (json, colours) {
        (true, _) => log.json().try_init(),
        (false, true) => log.try_init(),
        (false, false) => log.fmt_fields(PlainFields).try_init(),
    };
}

async fn serve(mut config: Config, overrides: Overrides) -> Result<(), String> {
    let (mut notes, sources) = (config.providers_note.clone(), config.sources.clone());
    notes.extend(server::make_room(&mut config.limits));
    let intro = introduction(&config);
    let inherited = Inherited::from_environment()?;
    // From the first moment on, so that a stop is never a sudden death.
    let mut end = End::new()?;
    let running = tokio::select! {
        started = process::start_on(config, overrides, inherited) => started.map_err(|e| e.detail)?,
        () = end.comes() => return Ok(()),
    };
    tell_service_manager("READY=1");
    say(&format!(
        "flyball listens on {} (metrics and health on {})",
        running.url, running.admin_url
    ));
    for note in notes {
        say(&note);
    }
    say(&intro);
    try_it(&running).await;
    let _watching = config::watch::start(sources, running.reloading());
    end.comes().await;
    end.comes_at_once();
    tell_service_manager("STOPPING=1");
    running.stop().await;
    Ok(())
}

/// Tells systemd, or whoever speaks as it does, how far flyball is (sd_notify(3)): a datagram to the socket of `NOTIFY_SOCKET`, whose name
/// may be an abstract one, with @ before it. Nobody need listen.
#[cfg(unix)]
fn tell_service_manager(state: &str) {
    use std::os::unix::net::UnixDatagram;
    let (Ok(path), Ok(socket)) = (std::env::var("NOTIFY_SOCKET"), UnixDatagram::unbound()) else {
        return;
    };
    #[cfg(target_os = "linux")]
    if let Some(name) = path.strip_prefix('@') {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::SocketAddr;
        if let Ok(address) = SocketAddr::from_abstract_name(name) {
            let _ = socket.send_to_addr(state.as_bytes(), &address);
        }
        return;
    }
    let _ = socket.send_to(state.as_bytes(), path);
}

#[cfg(not(unix))]
fn tell_service_manager(_: &str) {}

/// Output that nobody reads must not end the server.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn introduction(config: &Config) -> String {
    let mut lines = Vec::new();
    for tier in Tier::ALL {
        let names: Vec<&str> = config
            .fleet
            .in_tier(tier)
            .map(|m| m.name.as_str())
            .collect();
        if !names.is_empty() {
            lines.push(format!("  {:<10} {}", tier.name(), names.join(", ")));
        }
    }
    let embed = config.fleet.models.iter().filter(|m| m.embeds);
    let embed: Vec<&str> = embed.map(|m| m.name.as_str()).collect();
    if !embed.is_empty() {
        lines.push(format!("  embeddings {}", embed.join(", ")));
    }
    let baseline = match &config.baseline {
        Some(arm) => arm.to_string(),
        None => route::dearest(&config.fleet, &|_| true)
            .map_or_else(|| "none".into(), |m| format!("{} (the dearest)", m.name)),
    };
    lines.push(format!("  baseline of \"auto\": {baseline}"));
    lines.join("\n")
}

/// The same over a unix socket, which no browser and few SDKs ask.
fn try_socket(running: &Running) {
    let path = running.url.trim_start_matches("unix:");
    say(&format!(
        "\nTry it:\n  curl -si --unix-socket {path} http://localhost/v1/models\nCtrl-C stops."
    ));
}

/// Prints a request to try; where only simulated models would answer, also what they answered.
async fn try_it(running: &Running) {
    let Some((scheme, at)) = running.url.split_once("://") else {
        return try_socket(running);
    };
    let body = r#"{"model":"auto","messages":[{"role":"user","content":"What is the capital of France?"}]}"#;
    // From the first key on nobody is answered without one; their secrets are kept nowhere, so a name stands for it.
    let open = running.state.callers.load().open();
    let (key, where_from) = match open {
        true => ("", ""),
        false => (
            " -H \"authorization: Bearer $FLYBALL_KEY\"",
            "\n  FLYBALL_KEY is a key that `flyball key create NAME` has printed; `flyball key list` shows which there are.",
        ),
    };
    say(&format!(
        "\nTry it:\n  curl -si {scheme}://{at}/v1/chat/completions{key} -H 'content-type: application/json' -d '{body}'{where_from}"
    ));
    let policy = running.state.policy.load_full();
    // By an address nobody is whom a certificate names, so where there is one only its owner can try.
    let plain = scheme == "http";
    if plain && open && policy.fleet.models.iter().all(|m| m.simulated) {
        let body = json!({"model": "auto", "messages": [{"role": "user", "content": "What is the capital of France?"}]});
        match client::post(
            &format!("http://{at}"),
            "/v1/chat/completions",
            None,
            &[],
            &body,
        )
        .await
        {
            Ok(answer) => say(&format!("It answers:\n{}", answer.excerpt())),
            Err(why) => say(&format!("It does not answer: {why}")),
        }
        say(
            "\nOnly simulated models answer: no key was found in the environment and no local server on this machine.\nSet OPENAI_API_KEY or ANTHROPIC_API_KEY, start Ollama, LM Studio or llama.cpp, or write a flyball.toml, and start again.",
        );
    }
    let key = match open {
        true => "",
        false => " API key = a key of `flyball key create NAME`.",
    };
    say(&format!(
        "\nPoint an SDK at it: base_url = \"{scheme}://{at}/v1\" (OpenAI), \"{scheme}://{at}\" (Anthropic).{key} Ctrl-C stops."
    ));
}

/// The signals that end the process.
#[cfg(unix)]
struct End {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl End {
    fn new() -> Result<End, String> {
        use tokio::signal::unix::{SignalKind, signal};
        let on = |kind| signal(kind).map_err(|e| format!("cannot listen for signals: {e}"));
        Ok(End {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }

    async fn comes(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// A second signal does not wait for anybody.
    fn comes_at_once(mut self) {
        tokio::spawn(async move {
            self.comes().await;
            std::process::exit(130);
        });
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
struct End;

#[cfg(not(unix))]
impl End {
    fn new() -> Result<End, String> {
        Ok(End)
    }

    async fn comes(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // Nobody can tell it to end but by killing it.
            std::future::pending::<()>().await;
        }
    }

    fn comes_at_once(self) {}
}
