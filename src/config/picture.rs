//! What a configuration says, for the audit log: each setting by its path, and each file by its hash. Nothing that could be a secret is in it.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The longest value that is shown, in characters.
const VALUE_MAX: usize = 200;
/// Settings that are shown; of more than that only the files' hashes tell.
const SETTINGS_MAX: usize = 5_000;
/// Characters of a key's hash that are shown: enough to see when it became another.
const MARK: usize = "sha256:".len() + 8;
/// Words in the name of a setting whose value is not shown: secrets, and what the operator holds to be confidential.
const HIDDEN: [&str; 11] = [
    "key",
    "token",
    "secret",
    "password",
    "webhook",
    "header",
    "credential",
    "cookie",
    "words",
    "patterns",
    "examples",
];
/// Names with such a word whose values are names and no secrets.
const SHOWN: [&str; 3] = ["key", "each", "keys"];

/// What these files say. Folders stand for the TOML files in them.
#[must_use]
pub fn picture(sources: &[PathBuf]) -> Value {
    let mut files: Vec<PathBuf> = Vec::new();
    for source in sources {
        match std::fs::read_dir(source) {
            Ok(folder) => files.extend(folder.filter_map(|entry| Some(entry.ok()?.path()))),
            Err(_) => files.push(source.clone()),
        }
    }
    files.retain(|file| file.is_file());
    files.sort();
    files.dedup();
    let (mut hashes, mut settings) = (Map::new(), Map::new());
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        let name = file.display().to_string();
        hashes.insert(name.clone(), json!(hash(&text)));
        let is_toml = file.extension().is_some_and(|kind| kind == "toml");
        if let Some(table) = is_toml.then(|| text.parse::<toml::Table>().ok()).flatten() {
            let short = Path::new(&name)
                .file_name()
                .map_or(name.clone(), |n| n.to_string_lossy().into_owned());
            flatten(&short, &toml::Value::Table(table), false, &mut settings);
        }
    }
    if settings.len() > SETTINGS_MAX {
        settings.clear();
    }
    json!({"files": hashes, "settings": settings})
}

/// Those settings of the first picture that are not so in the second, and its files' hashes.
#[must_use]
pub fn differing(picture: &Value, other: &Value) -> Value {
    let mut differing = Map::new();
    if let (Some(settings), others) = (picture["settings"].as_object(), &other["settings"]) {
        for (path, value) in settings {
            if others.get(path) != Some(value) {
                differing.insert(path.clone(), value.clone());
            }
        }
    }
    json!({"files": picture["files"], "settings": differing})
}

fn hash(text: &str) -> String {
    let mut shown = String::new();
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(shown, "{byte:02x}");
    }
    shown
}

fn flatten(path: &str, value: &toml::Value, hidden: bool, into: &mut Map<String, Value>) {
    match value {
        toml::Value::Table(table) => {
            for (name, inner) in table {
                // The file's name comes first, then the path in it.
                let link = if path.contains(": ") { "." } else { ": " };
                let path = format!("{path}{link}{name}");
                flatten(&path, inner, hidden || is_hidden(name), into);
            }
        }
        toml::Value::Array(list) => {
            for (number, inner) in list.iter().enumerate() {
                flatten(&format!("{path}[{number}]"), inner, hidden, into);
            }
        }
        plain => {
            let text = match plain {
                toml::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let shown = match hidden && !is_reference(&text) {
                true => "(hidden)".to_owned(),
                false if path.ends_with("].hash") => text.chars().take(MARK).collect(),
                false => without_credentials(&text),
            };
            into.insert(path.to_owned(), json!(shown));
        }
    }
}

fn is_hidden(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    HIDDEN.iter().any(|word| name.contains(word)) && !SHOWN.contains(&name.as_str())
}

/// It says where a secret is, and is none itself.
fn is_reference(text: &str) -> bool {
    text.starts_with("env:") || text.starts_with("file:")
}

/// An address may hold a password, or a secret in its query.
fn without_credentials(text: &str) -> String {
    let text: String = text.chars().take(VALUE_MAX).collect();
    let Some((scheme, rest)) = text.split_once("://") else {
        return text;
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Value {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("flyball.toml");
        std::fs::write(&file, text).expect("a file");
        picture(&[file])["settings"].clone()
    }

    #[test]
    fn every_setting_has_a_path_and_nothing_that_could_be_a_secret_is_shown() {
        let settings = of(
            "admin_token = \"sk-secret-1\"\nlisten = \"127.0.0.1:1\"\n[[provider]]\nname = \"p\"\napi_key = \"env:KEY\"\nbase_url = \"https://me:sk-secret-2@example.com/v1?token=sk-secret-3\"\nheaders = { x-a = \"sk-secret-4\" }\n[[cap]]\nkey = \"app\"\nusd = 5\n[cap_webhook]\nurl = \"https://hooks.example.com/sk-secret-5\"\n",
        );
        let text = settings.to_string();
        assert!(!text.contains("sk-secret"), "{text}");
        for (path, value) in [
            ("flyball.toml: listen", "127.0.0.1:1"),
            ("flyball.toml: admin_token", "(hidden)"),
            ("flyball.toml: provider[0].api_key", "env:KEY"),
            (
                "flyball.toml: provider[0].base_url",
                "https://example.com/v1",
            ),
            ("flyball.toml: cap[0].key", "app"),
            ("flyball.toml: cap[0].usd", "5"),
        ] {
            assert_eq!(settings[path], value, "{path}: {text}");
        }
    }

    #[test]
    fn what_differs_is_told_by_its_path() {
        let (old, new) = (
            json!({"files": {"f": "1"}, "settings": {"a": "1", "b": "2"}}),
            json!({"files": {"f": "2"}, "settings": {"a": "1", "b": "3", "c": "4"}}),
        );
        assert_eq!(differing(&old, &new)["settings"], json!({"b": "2"}));
        assert_eq!(
            differing(&new, &old)["settings"],
            json!({"b": "3", "c": "4"})
        );
    }

    #[test]
    fn of_a_keys_hash_there_is_a_mark_that_shows_when_it_became_another() {
        let hash = format!("sha256:{}", "ab".repeat(32));
        let settings = of(&format!("[[key]]\nname = \"app\"\nhash = \"{hash}\"\n"));
        assert_eq!(settings["flyball.toml: key[0].hash"], "sha256:abababab");
    }
}
