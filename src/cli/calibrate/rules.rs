//! What was found, as rules: a file to look at beside the one of before, and to put into `rules/`.

use super::{Calibrated, Found, arm_named};
use crate::arm::Objective;
use crate::fleet::Fleet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Writes the file, and says what changed in it.
pub(super) fn write(
    path: &Path,
    told: &Calibrated,
    fleet: Option<&Fleet>,
) -> Result<String, String> {
    let text = text(told, fleet);
    let before = match fs::read_to_string(path) {
        Ok(before) => before,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(format!("{}: {e}", path.display())),
    };
    if before == text {
        return Ok(format!("{} is as it was.\n", path.display()));
    }
    fs::write(path, &text).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut said = match before.is_empty() {
        true => format!("{} is new.\n", path.display()),
        false => format!("{} has changed:\n{}", path.display(), diff(&before, &text)),
    };
    said.push_str("Look at it, put it into the folder rules/ beside flyball.toml, as 50-calibrated.toml, and run `flyball check`. Where there is no such folder yet, the starter rules have to go there first: mkdir rules && flyball rules show > rules/00-starter.toml\n");
    Ok(said)
}

fn text(told: &Calibrated, fleet: Option<&Fleet>) -> String {
    let mut text = String::from(
        "# Written by `flyball calibrate`; what a rule rests on is its why. Callers who ask for the best or the fastest answer are not bound.\n",
    );
    for found in &told.found {
        let _ = match found.named() {
            None => writeln!(
                text,
                "\n# {}: no arm is known to be good enough.",
                found.group
            ),
            Some(arm) if fleet.is_some_and(|f| arm_named(f, &arm.name).is_none()) => writeln!(
                text,
                "\n# {}: {} is good enough, but is no arm of this configuration.",
                found.group, arm.name
            ),
            Some(arm) => {
                let why = format!("{} in {} outcomes.", arm.claim(told), arm.pairs);
                let (task, difficulty) = told.by.condition(&found.group);
                let difficulty =
                    difficulty.map_or(String::new(), |span| format!(", difficulty = \"{span}\""));
                let known = fleet.and_then(|f| arm_named(f, &arm.name));
                let written = known.map_or_else(|| arm.name.clone(), |arm| arm.to_string());
                let objectives =
                    [Objective::Cheap, Objective::Balanced].map(|o| format!("\"{}\"", o.name()));
                writeln!(
                    text,
                    "\n[[rule]]\nname = \"{}\"\nwhy = \"{why}\"\nwhen = {{ task = [\"{task}\"]{difficulty}, objective = [{}] }}\nroute = {{ arm = \"{}\" }}",
                    name(found),
                    objectives.join(", "),
                    written
                )
            }
        };
    }
    text
}

/// A rule's name: letters, digits, spaces and dashes.
fn name(found: &Found) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let group: String = found.group.chars().map(plain).collect();
    let mut name = format!("calibrated {group}");
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    name.truncate(40);
    name.trim_end_matches('-').to_owned()
}

/// The lines that went and came, with those around them left out.
fn diff(before: &str, after: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    // Lengths of the longest common sequences of the rests of both.
    let mut common = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = match a[i] == b[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
            let _ = writeln!(text, "- {}", a[i]);
            i += 1;
        } else {
            let _ = writeln!(text, "+ {}", b[j]);
            j += 1;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_and_what_came_is_shown() {
        let told = diff("a\nb\nc\n", "a\nx\nc\nd\n");
        assert_eq!(told, "- b\n+ x\n+ d\n");
        assert_eq!(diff("a\n", "a\n"), "");
    }
}
