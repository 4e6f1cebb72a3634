//! Finds providers where there is no configuration: keys in the environment, and local servers that
//! prove what they are. Sends GETs only, never a prompt, never a key, and is done in 150 ms.

use crate::arm::Tier;
use crate::fleet::is_remote_name;
use crate::provider::channel::Channel;
use crate::provider::{self, Kind, Provider, Signature};
use secrecy::SecretString;
use serde::Deserialize;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// For all local servers together; the rest of the promised 150 ms is for starting threads.
const TIME: Duration = Duration::from_millis(130);

/// A list of models is some kilobytes; more is no such list.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// What was found and what was looked for.
#[derive(Debug, Default)]
pub struct Found {
    /// Providers with the models to use there.
    pub providers: Vec<(Provider, Vec<(String, Tier)>)>,
    /// Variables and addresses, for "no provider found".
    pub looked_for: Vec<String>,
    /// One line for each thing that was found.
    pub notes: Vec<String>,
}

/// Where local servers usually are.
#[must_use]
pub fn usual_places() -> Vec<(&'static Kind, String)> {
    let place = |kind: &&'static Kind| Some((*kind, kind.signature.as_ref()?.base_url.to_owned()));
    provider::ALL.iter().filter_map(place).collect()
}

/// Looks at the environment and at `places` (kind, base URL with an IP address), all at once.
#[must_use]
pub fn discover(env: &dyn Fn(&str) -> Option<String>, places: &[(&'static Kind, String)]) -> Found {
    let mut found = Found::default();
    for kind in provider::ALL.iter().filter(|k| k.signature.is_none()) {
        if let Some((variable, base_url)) = kind.key_env.zip(kind.base_url) {
            found.looked_for.push(variable.to_owned());
            found.vendor(kind, base_url, variable, env);
        }
    }
    for (kind, base_url) in places {
        found
            .looked_for
            .push(format!("{} at {base_url}", kind.name));
    }
    for ((kind, base_url), models) in places.iter().zip(ask_all(places)) {
        if let Some(models) = models {
            found.local(kind, base_url, models, env);
        }
    }
    found
}

impl Found {
    fn vendor(
        &mut self,
        kind: &'static Kind,
        base_url: &str,
        variable: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) {
        let Some(key) = key(env, variable) else {
            return;
        };
        let how = match kind.starters.is_empty() {
            true => "name its models in a flyball.toml to use it",
            false => "its usual models",
        };
        self.notes
            .push(format!("{}: key from {variable}; {how}", kind.name));
        let starters = kind.starters.iter();
        self.providers.push((
            provider(kind, base_url, Some(key), false),
            starters
                .map(|(name, tier)| ((*name).to_owned(), *tier))
                .collect(),
        ));
    }

    fn local(
        &mut self,
        kind: &'static Kind,
        base_url: &str,
        models: Vec<String>,
        env: &dyn Fn(&str) -> Option<String>,
    ) {
        let count = models.len();
        self.notes
            .push(format!("{} at {base_url}: {count} models", kind.name));
        let key = kind.key_env.and_then(|variable| key(env, variable));
        self.providers.push((
            provider(kind, base_url, key, true),
            models.into_iter().map(|name| (name, Tier::Local)).collect(),
        ));
    }
}

fn key(env: &dyn Fn(&str) -> Option<String>, variable: &str) -> Option<SecretString> {
    let value = env(variable)?;
    let value = value.trim();
    let fit = !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic());
    fit.then(|| SecretString::from(value))
}

fn provider(
    kind: &'static Kind,
    base_url: &str,
    api_key: Option<SecretString>,
    local: bool,
) -> Provider {
    Provider {
        local,
        ..Provider::new(kind.name, kind, Channel::only(base_url, api_key))
    }
}

/// For each place its models, or `None` where no such server is.
fn ask_all(places: &[(&'static Kind, String)]) -> Vec<Option<Vec<String>>> {
    let until = Instant::now() + TIME;
    std::thread::scope(|scope| {
        let ask = |(kind, base_url): &(&'static Kind, String)| {
            let signature = kind.signature.as_ref()?;
            let address = base_url.strip_prefix("http://")?.parse().ok()?;
            Some(scope.spawn(move || models(signature, address, until)))
        };
        let asked: Vec<_> = places.iter().map(ask).collect();
        let answer = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().ok().flatten();
        asked
            .into_iter()
            .map(|thread| thread.and_then(answer))
            .collect()
    })
}

fn models(signature: &Signature, address: SocketAddr, until: Instant) -> Option<Vec<String>> {
    let proof = get(address, signature.path, until)?;
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&proof).is_ok();
    if !is_json || !String::from_utf8(proof).ok()?.contains(signature.proof) {
        return None;
    }
    let list = get(address, signature.models, until)?;
    let list: List = serde_json::from_slice(&list).ok()?;
    let names = list.data.into_iter().chain(list.models);
    Some(names.filter_map(Listed::own_model).collect())
}

/// A list of models in OpenAI's or Ollama's shape.
#[derive(Deserialize)]
struct List {
    #[serde(default)]
    data: Vec<Listed>,
    #[serde(default)]
    models: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    id: Option<String>,
    name: Option<String>,
    remote_host: Option<String>,
}

impl Listed {
    /// The name, unless the model runs elsewhere.
    fn own_model(self) -> Option<String> {
        let remote = self.remote_host.is_some_and(|host| !host.is_empty());
        let name = self.id.or(self.name)?;
        let fit = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
        (fit && !remote && !is_remote_name(&name)).then_some(name)
    }
}

/// The body of a 200. HTTP/1.0, so that no server may answer in chunks.
fn get(address: SocketAddr, path: &str, until: Instant) -> Option<Vec<u8>> {
    let left = || {
        until
            .checked_duration_since(Instant::now())
            .filter(|d| !d.is_zero())
    };
    let mut socket = TcpStream::connect_timeout(&address, left()?).ok()?;
    socket.set_write_timeout(Some(left()?)).ok()?;
    let request = format!(
        "GET {path} HTTP/1.0\r\nhost: {address}\r\naccept: application/json\r\nconnection: close\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut piece = [0; 8192];
    loop {
        if let Some(body) = whole_body(&answer) {
            return Some(body.to_vec());
        }
        socket.set_read_timeout(Some(left()?)).ok()?;
        match socket.read(&mut piece).ok()? {
            0 => break,
            n => answer.extend_from_slice(&piece[..n]),
        }
        if u64::try_from(answer.len()).is_ok_and(|n| n > ANSWER_BYTES_MAX) {
            return None;
        }
    }
    let (head, body) = split(&answer)?;
    (is_200(head) && content_length(head).is_none()).then(|| body.to_vec())
}

/// The body of a 200 of which as many bytes are there as its head says.
fn whole_body(answer: &[u8]) -> Option<&[u8]> {
    let (head, body) = split(answer)?;
    let length = content_length(head)?;
    body.get(..length).filter(|_| is_200(head))
}

fn split(answer: &[u8]) -> Option<(&str, &[u8])> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    Some((head, &answer[end + 4..]))
}

fn is_200(head: &str) -> bool {
    let mut words = head.split_ascii_whitespace();
    words.next().is_some_and(|v| v.starts_with("HTTP/1.")) && words.next() == Some("200")
}

fn content_length(head: &str) -> Option<usize> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::until::found_here;
    use std::net::TcpListener;

    /// A server that answers each path with its (status, body), with or without a length, until the test ends.
    fn server(answers: &'static [(&'static str, u16, &'static str)], length: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.expect("a connection");
                let mut request = [0; 1024];
                // Who has no time left after the connection asks nothing.
                let Ok(n @ 1..) = socket.read(&mut request) else {
                    continue;
                };
                let request = String::from_utf8_lossy(&request[..n]).into_owned();
                assert!(request.starts_with("GET "), "only GET is sent: {request}");
                assert!(!request.contains("sk-"), "no key is sent: {request}");
                let path = request.split(' ').nth(1).unwrap_or_default();
                let known = answers.iter().find(|(p, ..)| *p == path);
                let (_, status, body) = known.unwrap_or(&("", 404, "{}"));
                let length = match length {
                    true => format!("Content-Length: {}\r\n", body.len()),
                    false => String::new(),
                };
                let _ = write!(socket, "HTTP/1.1 {status} X\r\n{length}\r\n{body}");
            }
        });
        format!("http://{address}")
    }

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn found_at(kind: &'static Kind, url: String) -> Vec<(String, Vec<(String, Tier)>)> {
        let found = discover(&nothing, &[(kind, url)]);
        let told = |(p, models): (Provider, Vec<(String, Tier)>)| (p.name, models);
        found.providers.into_iter().map(told).collect()
    }

    /// As [`found_at`], where there is one; asked again if the machine was too slow for the time that there is.
    fn found_sure(kind: &'static Kind, url: &str) -> Vec<(String, Vec<(String, Tier)>)> {
        found_here("the local server is found", || {
            Some(found_at(kind, url.to_owned())).filter(|found| !found.is_empty())
        })
    }

    #[test]
    fn a_local_server_is_known_by_its_signature_and_lists_its_own_models() {
        static OLLAMA: &[(&str, u16, &str)] = &[
            ("/api/version", 200, r#"{"version":"0.20.1"}"#),
            (
                "/api/tags",
                200,
                r#"{"models":[{"name":"qwen3:8b","size":1},{"name":"glm-5:cloud"},{"name":"kimi","remote_host":"https://ollama.com"},{"name":"nomic-embed-text:latest"}]}"#,
            ),
        ];
        static LLAMA: &[(&str, u16, &str)] = &[
            (
                "/props",
                200,
                r#"{"default_generation_settings":{},"model_path":"x"}"#,
            ),
            (
                "/v1/models",
                200,
                r#"{"object":"list","data":[{"id":"gemma"}]}"#,
            ),
        ];
        for length in [true, false] {
            let local = |name: &str| vec![(name.to_owned(), Tier::Local)];
            let found = found_sure(&provider::ollama::KIND, &server(OLLAMA, length));
            let embedder = local("nomic-embed-text:latest");
            let both = [local("qwen3:8b"), embedder].concat();
            assert_eq!(found, [("ollama".to_owned(), both)]);
            let found = found_sure(&provider::llamacpp::KIND, &server(LLAMA, length));
            assert_eq!(found, [("llamacpp".to_owned(), local("gemma"))]);
        }
    }

    #[test]
    fn what_only_looks_like_a_local_server_is_none() {
        static WRONG_STATUS: &[(&str, u16, &str)] = &[
            ("/api/version", 404, r#"{"version":"1"}"#),
            ("/api/tags", 200, r#"{"models":[]}"#),
        ];
        static NOT_JSON: &[(&str, u16, &str)] = &[
            ("/api/version", 200, "<p>\"version\"</p>"),
            ("/api/tags", 200, r#"{"models":[]}"#),
        ];
        static NO_PROOF: &[(&str, u16, &str)] = &[
            ("/api/version", 200, r#"{"v":"1"}"#),
            ("/api/tags", 200, r#"{"models":[]}"#),
        ];
        static NO_LIST: &[(&str, u16, &str)] = &[("/api/version", 200, r#"{"version":"1"}"#)];
        static MOVED: &[(&str, u16, &str)] = &[
            ("/api/version", 302, r#"{"version":"1"}"#),
            ("/api/tags", 200, r#"{"models":[]}"#),
        ];
        for answers in [WRONG_STATUS, NOT_JSON, NO_PROOF, NO_LIST, MOVED] {
            let found = found_at(&provider::ollama::KIND, server(answers, true));
            assert!(found.is_empty(), "{answers:?} {found:?}");
        }
    }

    #[test]
    fn silent_servers_cost_less_than_150_ms_in_all() {
        let address = |l: &TcpListener| l.local_addr().expect("it is bound");
        let attempt = || {
            // Bound and never accepted: connecting works, an answer never comes. New ones each time, since only so many fit.
            let silent: Vec<TcpListener> = (0..3)
                .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
                .collect();
            let places: Vec<(&'static Kind, String)> = silent
                .iter()
                .map(|l| (&provider::ollama::KIND, format!("http://{}", address(l))))
                .collect();
            let start = Instant::now();
            let found = discover(&nothing, &places);
            assert!(found.providers.is_empty());
            let by_key = |kind: &&&Kind| kind.key_env.is_some() && kind.signature.is_none();
            let keys = provider::ALL.iter().filter(by_key).count();
            let all = keys + silent.len();
            assert_eq!(found.looked_for.len(), all, "{:?}", found.looked_for);
            start.elapsed()
        };
        // A busy machine may delay any one, but not every one.
        found_here("an attempt that takes less than 150 ms", || {
            let took = attempt();
            assert!(took >= TIME, "{took:?}");
            (took < Duration::from_millis(150)).then_some(())
        });
    }

    #[test]
    fn a_key_in_the_environment_brings_the_vendors_usual_models() {
        let env = |name: &str| match name {
            "OPENAI_API_KEY" => Some("sk-one\n".to_owned()),
            "ANTHROPIC_API_KEY" => Some("  ".to_owned()),
            "OPENROUTER_API_KEY" => Some("sk-two".to_owned()),
            "LLAMA_API_KEY" => Some("sk-three".to_owned()),
            _ => None,
        };
        let found = discover(&env, &[]);
        let names: Vec<&str> = found
            .providers
            .iter()
            .map(|(p, _)| p.name.as_str())
            .collect();
        assert_eq!(names, ["openai", "openrouter"]);
        assert_eq!(
            found.providers[0].1.len(),
            provider::openai::KIND.starters.len()
        );
        assert!(found.providers[1].1.is_empty());
        assert!(found.looked_for.contains(&"ANTHROPIC_API_KEY".to_owned()));
        assert!(!format!("{found:?}").contains("sk-"));
    }
}
