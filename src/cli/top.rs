//! `flyball top`: what a running flyball spends, saves and decides, in a terminal. Asks its admin listener and nothing else.

mod ask;
mod draw;
mod told;
mod view;
mod words;

use super::dial::{self, At};
use super::{Common, reading, runtime};
use crate::config::Needs;
use crate::server::address::Address;
use ask::Door;
use clap::Args;
use draw::{Canvas, Ink};
use jiff::ZonedDateTime;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use secrecy::SecretString;
use std::io::IsTerminal;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::watch;
use told::{Heard, TopFigures, Unheard};
use view::{Asks, Reach, View, Wish};

#[derive(Args, Clone, Debug)]
pub(super) struct TopArgs {
    /// The admin listener to ask, e.g. http://127.0.0.1:8485, https://HOST:8485 or unix:/run/flyball/admin.sock [default: admin_listen of the configuration]
    #[arg(long, env = "FLYBALL_ADMIN_URL", value_name = "URL")]
    admin_url: Option<String>,
    /// A file, PEM, with the certificate that an https admin listener shows, or with the authority that has signed it [default: certificate under [tls] of the configuration; this machine's authorities are trusted besides]
    #[arg(long, env = "FLYBALL_ADMIN_CA", value_name = "FILE")]
    admin_ca: Option<String>,
    /// Where the admin token is, never the token itself: env:NAME or file:PATH [default: $FLYBALL_ADMIN_TOKEN, else admin_token of the configuration]
    #[arg(long, value_name = "REFERENCE")]
    admin_token: Option<String>,
    /// Split who spends by this: team, key, model, task, rule, provider, tag:NAME
    #[arg(long, default_value = "team", value_name = "DIMENSION")]
    by: String,
    /// Print everything once, as text, and end
    #[arg(long)]
    once: bool,
    /// Print everything once, as JSON, and end
    #[arg(long)]
    json: bool,
    /// Seconds between two looks
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
}

/// How often the keys are looked at, and with them what was told.
const TICK: Duration = Duration::from_millis(100);
/// A frame that is printed has so many columns where nobody says how many.
const COLUMNS: u16 = 120;
/// And so many lines.
const LINES: u16 = 44;

pub(super) fn run(common: &Common, args: &TopArgs) -> Result<(), String> {
    let door = door(common, args)?;
    let mut view = View::new();
    view.by.clone_from(&args.by);
    if args.json || args.once {
        let (heard, now) = runtime()?
            .block_on(door.hear(&view.wish()))
            .map_err(|unheard| unheard.why)?;
        match args.json {
            true => println!("{}", ask::as_json(&heard)),
            false => print!("{}", once(view, &heard, &now)),
        }
        return Ok(());
    }
    if !std::io::stdout().is_terminal() {
        return Err(
            "flyball top needs a terminal; --once prints everything as text, --json as JSON".into(),
        );
    }
    live(door, view, Duration::from_secs(args.every))
}

/// Where to ask. A token is sent only to where it belongs: that of the configuration to its own listener.
fn door(common: &Common, args: &TopArgs) -> Result<Door, String> {
    let told = match &args.admin_token {
        Some(reference) => Some(secret(reference)?),
        None => std::env::var("FLYBALL_ADMIN_TOKEN")
            .ok()
            .filter(|t| !t.trim().is_empty())
            .map(|t| SecretString::from(t.trim())),
    };
    if let Some(url) = &args.admin_url {
        let at = At::read(url, args.admin_ca.as_deref());
        let at = at.map_err(|why| format!("--admin-url: {why}"))?;
        return Ok(Door { at, token: told });
    }
    let config = reading(common, Needs::File)?;
    let at = match &config.admin_listen {
        Address::Unix(path) => At::Unix(path.clone()),
        Address::Tcp(address) => {
            let at = from_here(*address).to_string();
            match config.tls_admin {
                false => At::Tcp(at),
                true => {
                    let shown = config.tls_certificate.as_ref();
                    let shown = shown.map(|path| path.to_string_lossy().into_owned());
                    At::Tls(
                        at,
                        dial::trust(args.admin_ca.as_deref().or(shown.as_deref()))?,
                    )
                }
            }
        }
    };
    Ok(Door {
        at,
        token: told.or(config.admin_token),
    })
}

/// The address by which this machine itself reaches a listener.
fn from_here(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.is_ipv4() {
            true => Ipv4Addr::LOCALHOST.into(),
            false => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn secret(reference: &str) -> Result<SecretString, String> {
    let text = match reference.split_once(':') {
        Some(("env", name)) => std::env::var(name)
            .map_err(|_| format!("--admin-token: the variable {name} is not set"))?,
        Some(("file", path)) => std::fs::read_to_string(Path::new(path))
            .map_err(|e| format!("--admin-token: {path}: {e}"))?,
        _ => {
            return Err("--admin-token must not hold the token itself, which everybody on this machine could read; write env:NAME or file:PATH".into());
        }
    };
    Ok(SecretString::from(text.trim()))
}

fn ink() -> Ink {
    // https://no-color.org: any value that is not empty.
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    Ink { colour }
}

/// One frame as text.
fn once(mut view: View, heard: &Heard, now: &ZonedDateTime) -> String {
    let told = TopFigures::read(heard, &ask::days(now), &view.by);
    view.take(told, as_of(now));
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let width = columns.unwrap_or(COLUMNS).clamp(40, 400);
    let canvas = Canvas {
        view: &view,
        now,
        ink: ink(),
    };
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, LINES));
    // Nothing can fail that is drawn into memory.
    let Ok(_) = terminal.draw(|frame| canvas.draw(frame));
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in 0..buffer.area.height {
        let mut line = String::new();
        for column in 0..buffer.area.width {
            line.push_str(buffer[(column, row)].symbol());
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.trim_end().to_owned() + "\n"
}

fn as_of(now: &ZonedDateTime) -> String {
    let zone = now.time_zone().iana_name().unwrap_or("UTC");
    format!("{} {zone}", now.strftime("%H:%M:%S"))
}

/// What comes from the flyball while somebody looks.
enum News {
    Told(Box<Heard>, ZonedDateTime, Wish),
    Silent(Unheard),
    /// The process is asked to end.
    End,
}

/// Shows it until somebody has seen enough.
fn live(door: Door, view: View, every: Duration) -> Result<(), String> {
    let runtime = runtime()?;
    let (wish, wishes) = watch::channel(view.wish());
    let (tell, news) = mpsc::channel();
    runtime.spawn(end_of_process(tell.clone()));
    runtime.spawn(keep_asking(door, wishes, tell, every));
    // It puts the terminal back before a panic is told, too.
    let mut terminal =
        ratatui::try_init().map_err(|e| format!("this terminal cannot be drawn on: {e}"))?;
    let looked = look(&mut terminal, view, &news, &wish);
    ratatui::restore();
    runtime.shutdown_background();
    looked.map_err(|e| format!("the terminal failed: {e}"))
}

fn look(
    terminal: &mut ratatui::DefaultTerminal,
    mut view: View,
    news: &mpsc::Receiver<News>,
    wish: &watch::Sender<Wish>,
) -> std::io::Result<()> {
    let ink = ink();
    let mut now = ZonedDateTime::now();
    loop {
        view.page = usize::from(terminal.size()?.height.saturating_sub(10)).max(1);
        terminal.draw(|frame| {
            Canvas {
                view: &view,
                now: &now,
                ink,
            }
            .draw(frame)
        })?;
        loop {
            if event::poll(TICK)? {
                match event::read()? {
                    Event::Key(key) if key.kind != KeyEventKind::Release => match view.press(key) {
                        Asks::Quit => return Ok(()),
                        Asks::Anew => drop(wish.send(view.wish())),
                        Asks::Nothing => {}
                    },
                    _ => {}
                }
                break;
            }
            match news.try_recv() {
                Ok(News::End) => return Ok(()),
                Ok(News::Silent(unheard)) => view.reach = Reach::Not(unheard),
                // The answer to what was asked before; that to what is asked now follows.
                Ok(News::Told(_, _, wish)) if wish != view.wish() => {}
                Ok(News::Told(heard, at, wish)) => {
                    let told = TopFigures::read(&heard, &ask::days(&at), &wish.by);
                    view.take(told, as_of(&at));
                    now = at;
                }
                Err(_) => continue,
            }
            break;
        }
    }
}

async fn keep_asking(
    door: Door,
    mut wishes: watch::Receiver<Wish>,
    tell: mpsc::Sender<News>,
    every: Duration,
) {
    loop {
        let wish = wishes.borrow_and_update().clone();
        let news = match door.hear(&wish).await {
            Ok((heard, now)) => News::Told(Box::new(heard), now, wish),
            Err(unheard) => News::Silent(unheard),
        };
        if tell.send(news).is_err() {
            return;
        }
        // Whoever wants something else does not wait for it.
        let _ = tokio::time::timeout(every, wishes.changed()).await;
    }
}

/// How long an orderly end may take.
const END: Duration = Duration::from_secs(1);

/// A terminal that is left as it was drawn on is of no use to anybody, so an end that is asked for is an orderly one. Where the terminal
/// itself is gone, whoever waits for its keys never hears of it, so the process ends all the same.
#[cfg(unix)]
async fn end_of_process(tell: mpsc::Sender<News>) {
    use tokio::signal::unix::{SignalKind, signal};
    let both = (
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    );
    let (Ok(mut terminate), Ok(mut hangup)) = both else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    let _ = tell.send(News::End);
    tokio::time::sleep(END).await;
    // It may be there after all, only busy.
    drop(ratatui::try_restore());
    std::process::exit(1);
}

#[cfg(not(unix))]
async fn end_of_process(_tell: mpsc::Sender<News>) {}
