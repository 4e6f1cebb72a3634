//! A flyball under test: in this process, on free ports, with a data folder of its own.

use crate::client::{self, Answer};
use crate::scripted::Upstream;
use crate::until::{found, within};
use flyball::config::{self, Overrides};
use flyball::ledger::cap::Cap;
use flyball::ledger::store::{EVER, Key, Store};
use flyball::ledger::{Settings, books};
use flyball::process::{self, Running};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use tempfile::TempDir;

/// What the config of most tests says: two priced models of an OpenAI-compatible provider, and nothing else.
pub fn compatible(upstream: &Upstream) -> String {
    compatible_at(&upstream.url(), "")
}

/// The same at this address, with more to say of the provider.
pub fn compatible_at(url: &str, more: &str) -> String {
    let more = match more {
        "" => String::new(),
        more => format!("\n{more}"),
    };
    format!(
        r#"
[[provider]]
name = "up"
kind = "openai-compatible"
base_url = "{url}"{more}

[[model]]
name = "m-small"
provider = "up"
tier = "small"
efforts = []
context_tokens = 100000
answer_tokens_max = 4000
input_usd_per_mtok = 1
output_usd_per_mtok = 10

[[model]]
name = "m-big"
provider = "up"
tier = "reasoning"
efforts = ["low", "medium", "high"]
context_tokens = 100000
answer_tokens_max = 4000
input_usd_per_mtok = 10
output_usd_per_mtok = 100
"#
    )
}

/// A flyball under test.
pub struct Flyball {
    pub running: Running,
    pub dir: TempDir,
}

impl Flyball {
    /// Starts one with this `flyball.toml`.
    pub async fn start(toml: &str) -> Flyball {
        Flyball::start_in(tempfile::tempdir().expect("a folder"), toml).await
    }

    pub async fn start_in(dir: TempDir, toml: &str) -> Flyball {
        Flyball::try_start(dir, toml)
            .await
            .unwrap_or_else(|e| panic!("{e}"))
    }

    pub async fn try_start(dir: TempDir, toml: &str) -> Result<Flyball, String> {
        Flyball::try_start_with(dir, toml, |_| {}).await
    }

    /// As the command line says, which this changes.
    pub async fn try_start_with(
        dir: TempDir,
        toml: &str,
        change: impl FnOnce(&mut Overrides),
    ) -> Result<Flyball, String> {
        let file = dir.path().join("flyball.toml");
        std::fs::write(&file, toml).expect("a file");
        let mut overrides = overrides(&dir);
        change(&mut overrides);
        let config = config::load(&overrides).map_err(|all| {
            all.iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        })?;
        let running = within("flyball starts", process::start(config, overrides))
            .await
            .map_err(|e| e.detail)?;
        Ok(Flyball { running, dir })
    }

    pub fn at(&self) -> SocketAddr {
        self.running.listen
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub async fn chat(&self, headers: &[(&str, &str)], body: &str) -> Answer {
        client::post(self.at(), "/v1/chat/completions", headers, body).await
    }

    /// Every line of the ledger, once everything is written and nothing is open.
    pub async fn rows(&self) -> Vec<Value> {
        // Tokens are counted off the I/O threads, and clients' leaving is noticed there.
        found("nothing in the ledger is open", async || {
            self.flush().await;
            let mut rows = Vec::new();
            self.books()
                .attempts(EVER, &mut |a| {
                    rows.push(flyball::exchange::describe(&a));
                    true
                })
                .expect("the ledger can be read");
            rows.iter().all(|r| r["outcome"] != "open").then_some(rows)
        })
        .await
    }

    /// Waits until everything that was handed to the ledger is written.
    pub async fn flush(&self) {
        within("the ledger is written", self.running.state.ledger.flush()).await;
    }

    /// From here on the ledger finds its disk full, or not.
    pub async fn full_disk(&self, full: bool) {
        let pretended = self.running.state.ledger.pretend_full_disk(full);
        within("the ledger pretends", pretended).await;
    }

    /// The ledger replays to the same sums, and nothing is left reserved.
    pub async fn books_are_right(&self) {
        self.rows().await;
        let found =
            flyball::ledger::verify::verify(self.books().as_mut()).expect("it can be replayed");
        assert!(found.is_whole(), "{found:?}");
        for standing in self.running.state.ledger.standings() {
            assert_eq!(standing.reserved, 0, "{}", standing.counter);
        }
    }

    /// The books as another process sees them.
    pub fn books(&self) -> Box<dyn Store> {
        let settings = self.running.state.ledger.settings();
        books::open(settings).expect("the ledger")
    }

    pub async fn metrics(&self) -> String {
        client::get(self.running.admin, "/metrics", &[]).await.body
    }

    pub async fn stop(self) -> TempDir {
        within("flyball stops", self.running.stop()).await;
        self.dir
    }
}

pub fn overrides(dir: &TempDir) -> Overrides {
    Overrides {
        config: Some(dir.path().join("flyball.toml")),
        listen: Some("127.0.0.1:0".into()),
        admin_listen: Some("127.0.0.1:0".into()),
        data_dir: Some(dir.path().join("data")),
        ..Overrides::default()
    }
}

/// Makes a key before flyball starts; its secret is its name with `fb_` before it.
pub fn make_key(dir: &TempDir, name: &str, cap_usd: Option<&str>, change: impl FnOnce(&mut Key)) {
    let settings = Settings::embedded(&dir.path().join("data"));
    let cap = cap_usd.map(|usd| Cap::parse(&format!("{usd}usd/day")).expect("a cap"));
    let mut key = Key {
        name: name.into(),
        hash: flyball::caller::hash(format!("fb_{name}").as_bytes()),
        created: 1,
        caps: cap.into_iter().collect(),
        ..Key::default()
    };
    change(&mut key);
    let mut books = books::make(&settings).expect("a ledger");
    books.create_key(&key).expect("a key");
}
