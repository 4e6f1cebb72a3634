//! The source files as they stand, and which of them names what of which other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every source file by its module (`ledger::store`), without its tests. The root is the module of no name.
pub struct House {
    pub files: BTreeMap<String, String>,
}

impl House {
    /// The house as it stands.
    pub fn here() -> House {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut paths = Vec::new();
        sources(&root, &mut paths);
        let file = |path: &PathBuf| {
            let name = path.strip_prefix(&root).expect("under src");
            let name = name.with_extension("").to_string_lossy().replace('/', "::");
            let text = fs::read_to_string(path).expect("text");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            (
                if name == "lib" { String::new() } else { name },
                without_comments(code),
            )
        };
        House {
            files: paths.iter().map(file).collect(),
        }
    }

    /// What each file names of other files, and by which name.
    pub fn arrows(&self) -> BTreeMap<(String, String), BTreeSet<String>> {
        let mut arrows: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for (module, code) in &self.files {
            for path in paths(code) {
                if let Some((found, name)) = self.resolve(module, &path, 0)
                    && found != *module
                {
                    arrows
                        .entry((module.clone(), found))
                        .or_default()
                        .insert(name);
                }
            }
        }
        arrows
    }

    /// The file that a path in this module leads to, and the last name on the way.
    fn resolve(&self, module: &str, path: &[String], depth: usize) -> Option<(String, String)> {
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => String::new(),
            "self" => module.to_owned(),
            "super" => parent(module),
            name => Some(child(module, name)).filter(|c| self.files.contains_key(c))?,
        };
        while let Some(("super", more)) = rest.split_first().map(|(a, b)| (a.as_str(), b)) {
            (at, rest) = (parent(&at), more);
        }
        while let Some((name, more)) = rest.split_first() {
            let inner = child(&at, name);
            if self.files.contains_key(&inner) {
                (at, rest) = (inner, more);
                continue;
            }
            let code = self.files.get(&at)?;
            let handed_on = uses(code).into_iter().find(|(public, path, known_as)| {
                *public && known_as == name && path.last() != Some(&"*".into())
            });
            return match handed_on {
                Some((_, path, _)) if depth < 8 => self
                    .resolve(&at, &path, depth + 1)
                    .or_else(|| Some((at, name.clone()))),
                _ => Some((at, name.clone())),
            };
        }
        let name = path.last().cloned().unwrap_or_default();
        Some((at, name))
    }
}

/// One may name the other without a circle: a module and what is inside it are one room.
pub fn one_room(a: &str, b: &str) -> bool {
    let inside = |inner: &str, outer: &str| inner.starts_with(&format!("{outer}::"));
    a == b || inside(a, b) || inside(b, a)
}

/// The folder under `src` in which a module stands.
pub fn folder(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// Every circle of these arrows, each as the sorted list of those in it.
pub fn circles(arrows: &BTreeSet<(String, String)>) -> Vec<Vec<String>> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in arrows {
        next.entry(from).or_default().push(to);
    }
    let reached = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut todo: Vec<&str> = next.get(from).cloned().unwrap_or_default();
        while let Some(at) = todo.pop() {
            if seen.insert(at.to_owned()) {
                todo.extend(next.get(at).into_iter().flatten());
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<String>> = next.keys().map(|k| (*k, reached(k))).collect();
    let both =
        |a: &str, b: &str| reach[a].contains(b) && reach.get(b).is_some_and(|r| r.contains(a));
    let mut found = BTreeSet::new();
    for from in next.keys().filter(|k| reach[*k].contains(**k)) {
        let round: Vec<String> = next
            .keys()
            .filter(|k| both(from, k))
            .map(|k| (*k).to_owned())
            .collect();
        found.insert(round);
    }
    found.into_iter().collect()
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            into.push(path);
        }
    }
}

fn without_comments(code: &str) -> String {
    let line = |line: &str| {
        let cut = line.trim_start().starts_with("//");
        if cut { String::new() } else { line.to_owned() }
    };
    code.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn parent(module: &str) -> String {
    module
        .rsplit_once("::")
        .map_or(String::new(), |(outer, _)| outer.to_owned())
}

fn child(module: &str, name: &str) -> String {
    if module.is_empty() {
        name.to_owned()
    } else {
        format!("{module}::{name}")
    }
}

/// Every path that a file names: those of its `use` lines, and those that stand in its code (`super::ask::plan`, `ask::plan`).
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found: Vec<Vec<String>> = uses(code).into_iter().map(|(_, path, _)| path).collect();
    let letter = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = code;
    while let Some(at) = rest.find("::") {
        let start = rest[..at].rfind(|c| !letter(c)).map_or(0, |n| n + 1);
        let tail = &rest[start..];
        let end = tail
            .find(|c: char| !letter(c) && c != ':')
            .unwrap_or(tail.len());
        let path: Vec<String> = tail[..end]
            .split("::")
            .map(|s| s.trim_matches(':').to_owned())
            .filter(|s| !s.is_empty())
            .collect();
        if path.len() > 1 {
            found.push(path);
        }
        rest = &tail[end.max(2)..];
    }
    found
}

/// The `use` lines of a file, one path each: whether it is handed on, the path, and the name by which it is known here.
fn uses(code: &str) -> Vec<(bool, Vec<String>, String)> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let before = rest[..at].rsplit('\n').next().unwrap_or_default().trim();
        let tail = &rest[at + 4..];
        let end = tail.find(';').unwrap_or(tail.len());
        if before.is_empty() || before.starts_with("pub") {
            let text: String = tail[..end].split_whitespace().collect::<Vec<_>>().join(" ");
            let mut all = Vec::new();
            spread(&text, &[], &mut all);
            let public = !before.is_empty();
            found.extend(all.into_iter().map(|(path, name)| (public, path, name)));
            rest = &tail[end..];
        } else {
            rest = tail;
        }
    }
    found
}

/// `a::{b, c::{self, d as e}}` as one path each.
fn spread(text: &str, before: &[String], into: &mut Vec<(Vec<String>, String)>) {
    let text = text.trim();
    if let Some(open) = text.find('{') {
        let mut head = before.to_vec();
        head.extend(
            text[..open]
                .split("::")
                .map(|s| s.trim().to_owned())
                .filter(|s| !s.is_empty()),
        );
        let inner = text[open + 1..].trim_end().trim_end_matches('}');
        // The brace that was trimmed may have been an inner one's.
        let (mut depth, mut start) = (0_i32, 0);
        let inner = format!("{inner}{}", "}".repeat(open_braces(inner)));
        for (at, c) in inner.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    spread(&inner[start..at], &head, into);
                    start = at + 1;
                }
                _ => {}
            }
        }
        return spread(&inner[start..], &head, into);
    }
    if text.is_empty() {
        return;
    }
    let (path, known_as) = match text.split_once(" as ") {
        Some((path, name)) => (path, Some(name.trim().to_owned())),
        None => (text, None),
    };
    let mut all = before.to_vec();
    all.extend(
        path.split("::")
            .map(|s| s.trim().to_owned())
            .filter(|s| !s.is_empty()),
    );
    if all.last().is_some_and(|last| last == "self") && all.len() > 1 {
        all.pop();
    }
    let name = known_as.or_else(|| all.last().cloned()).unwrap_or_default();
    into.push((all, name));
}

fn open_braces(text: &str) -> usize {
    let count = |c| text.chars().filter(|x| *x == c).count();
    count('{').saturating_sub(count('}'))
}
