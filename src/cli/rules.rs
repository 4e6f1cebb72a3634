//! `flyball rules`: the starter rules as they ship, and which rules are in force.

use super::{Common, reading};
use crate::config::{Config, Needs};
use crate::route::policy;
use clap::Subcommand;
use serde_json::json;

#[derive(Subcommand, Debug)]
pub(super) enum RulesCommand {
    /// Print the starter rules as TOML, and say which rules are in force
    #[command(
        after_help = "Example, to begin rules of your own with them:\n  mkdir rules && flyball rules show > rules/all.toml"
    )]
    Show {
        /// As JSON: the rules in force
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(common: &Common, command: &RulesCommand) -> Result<(), String> {
    let RulesCommand::Show { json } = command;
    let config = reading(common, Needs::Models);
    if *json {
        println!("{}", as_json(&config?));
        return Ok(());
    }
    // The starter rules are worth seeing also where the configuration has to be mended first.
    print!("{}", in_force(config.as_ref().ok()));
    for (file, text) in policy::embedded() {
        println!("# The starter rules, {file}:\n\n{}", text.trim_end());
    }
    config.map(drop)
}

/// Which rules are in force, as comments of TOML.
fn in_force(config: Option<&Config>) -> String {
    let Some(config) = config else {
        return "# In force: not known, since the configuration has mistakes.\n".to_owned();
    };
    let names: Vec<&str> = config.rules.iter().map(|r| r.name.as_str()).collect();
    let names = names.join(", ");
    match config.rule_files.as_slice() {
        [] => format!(
            "# In force: the starter rules below. A folder rules/ beside flyball.toml takes their place.\n# In this order: {names}\n"
        ),
        files => format!(
            "# In force: the rules of {}, which take the place of the starter rules below.\n# In this order: {names}\n",
            files.join(", ")
        ),
    }
}

fn as_json(config: &Config) -> serde_json::Value {
    let rules = config
        .rules
        .iter()
        .map(|r| json!({"name": r.name, "why": r.why, "file": r.file, "line": r.line}));
    json!({"starter": config.rule_files.is_empty(), "files": config.rule_files, "in_force": rules.collect::<Vec<_>>()})
}
