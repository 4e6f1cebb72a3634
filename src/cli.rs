//! The command line: what each command takes, and its help. The work is in the files beside this.

mod audit;
mod batches;
mod bill;
mod books;
mod calibrate;
mod caps;
mod client;
mod compare;
mod csv;
mod demo;
mod dial;
mod focus;
mod grader;
mod house;
mod inspect;
mod keys;
mod learn;
mod local;
mod log_line;
mod own;
mod prices;
mod rules;
mod serve;
mod sessions;
mod shown;
mod top;

use crate::config::{Config, Needs, Overrides};
use crate::ledger::audit::Deed;
use crate::ledger::now_ms;
use crate::ledger::store::{Key, Store};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use serde_json::Value;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// A reverse proxy that sends each LLM request to the cheapest model and effort that will answer it well, under caps that hold.
#[derive(Parser, Debug)]
#[command(name = "flyball", version, about, propagate_version = true, after_help = SERVE_HELP)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The options of `serve`, which may stand without its name, where somebody looks first. A test compares them with `serve --help`.
const SERVE_HELP: &str = "\
Options of serve, with or without the word:
      --listen <ADDRESS>        Where traffic comes in, IP:PORT or unix:PATH [env: FLYBALL_LISTEN] [default: 127.0.0.1:8484]
      --admin-listen <ADDRESS>  Where metrics, health and administration are [env: FLYBALL_ADMIN_LISTEN] [default: 127.0.0.1:8485]
      --intercept <PATTERN>     Real model names to route like \"auto\", with *; several by comma [env: FLYBALL_INTERCEPT]
      --simulate                Serve the built-in simulated models

Examples:
  flyball
  flyball --intercept \"gpt-*\" --listen 127.0.0.1:9000
  flyball explain \"What is the capital of France?\"";

/// What every command understands.
#[derive(Args, Clone, Debug, Default)]
struct Common {
    /// The configuration file [default: flyball.toml here, if there is one]
    #[arg(long, global = true, env = "FLYBALL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the ledger [default: data_dir of the configuration, else $XDG_DATA_HOME/flyball or ~/.local/share/flyball; on macOS ~/Library/Application Support/flyball, on Windows %LOCALAPPDATA%\flyball]
    #[arg(long, global = true, env = "FLYBALL_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Serve; what flyball does without a command, so that its options need none either
    #[command(
        after_help = "Example:\n  flyball serve --intercept \"gpt-*\" --listen 127.0.0.1:9000"
    )]
    Serve(ServeArgs),
    /// Send a mixed stream of prompts through a proxy and show what it cost and saved, or make up a month of traffic
    #[command(
        after_help = "Examples:\n  flyball demo --requests 200\n  flyball demo --days 30 --out month\n  flyball demo --against http://127.0.0.1:8484 --keys month/keys --forever"
    )]
    Demo(demo::DemoArgs),
    /// Show every cap with what is spent, or allow a frozen model again
    #[command(after_help = "Examples:\n  flyball caps\n  flyball caps unfreeze gpt-5-mini")]
    Caps(caps::CapsArgs),
    /// Check the configuration and the rules, with their examples
    #[command(after_help = "Example:\n  flyball check --config flyball.toml")]
    Check(inspect::CheckArgs),
    /// Show how a prompt would be graded and routed, and why; sends nothing
    #[command(
        after_help = "Examples:\n  flyball explain \"Translate into German: Good evening.\"\n  flyball explain - --model gpt-5 --intercept \"gpt-*\" < request.json"
    )]
    Explain(inspect::ExplainArgs),
    /// Grade prompts; with --jsonl one JSON a line from standard input
    #[command(
        after_help = "Examples:\n  flyball classify \"What is the capital of France?\"\n  flyball classify --jsonl < prompts.jsonl"
    )]
    Classify(inspect::ClassifyArgs),
    /// Learn the grader's weights from outcomes
    #[command(
        after_help = "Example:\n  flyball train --recipe src/data/grader_recipe.json --outcomes outcomes.jsonl.gz --out grader.bin"
    )]
    Train(grader::TrainArgs),
    /// Learn from your own outcomes what the grader does not know of your traffic
    #[command(
        after_help = "Example:\n  flyball fit --outcomes outcomes.jsonl --weak gpt-5-nano --strong gpt-5 --out overlay.json"
    )]
    Fit(grader::FitArgs),
    /// Tell how good the grader is, on your outcomes or by cross-validation, or what a configuration's decisions are worth
    #[command(
        after_help = "Examples:\n  flyball eval --outcomes outcomes.jsonl --weak gpt-5-nano --strong gpt-5\n  flyball eval --outcomes outcomes.jsonl --policy flyball.toml --as gpt-5@none=gpt-5-no-thinking"
    )]
    Eval(grader::EvalArgs),
    /// Ask several arms the same questions, and tell what answers cost, how fast they come and how good they are
    #[command(
        after_help = "Examples:\n  flyball compare \"Why is the sky blue?\" --arms gpt-5-nano,gpt-5@high\n  flyball compare --file questions.jsonl --arms sim-small,sim-reasoning --grade exact --out answers.jsonl --html page.html"
    )]
    Compare(compare::CompareArgs),
    /// Tell for each task the cheapest arm that is good enough, with a stated confidence, and what it would save
    #[command(
        after_help = "Examples:\n  flyball calibrate\n  flyball calibrate --target 0.95 --rules rules/50-calibrated.toml\n  flyball calibrate --outcomes outcomes.jsonl --arms gpt-5-nano,gpt-5@low,gpt-5@high --by label"
    )]
    Calibrate(calibrate::CalibrateArgs),
    /// Show the local models, whether they fit into this machine's memory, and how fast they are
    #[command(
        after_help = "Examples:\n  flyball local\n  flyball local --measure --at-once 2\n  flyball report --local qwen3:8b --price-usd 2000 --watts 300"
    )]
    Local(local::LocalArgs),
    /// Show or forget what was learned of the models that are asked first
    #[command(subcommand, after_help = "Example:\n  flyball learn status")]
    Learn(learn::LearnCommand),
    /// Export or verify the ledger
    #[command(
        subcommand,
        after_help = "Example:\n  flyball ledger export --jsonl > attempts.jsonl"
    )]
    Ledger(books::LedgerCommand),
    /// Show who did what to keys and configuration, or verify that it was not changed afterwards
    #[command(subcommand, after_help = "Example:\n  flyball audit verify")]
    Audit(audit::AuditCommand),
    /// List, show and cancel the batches that flyball keeps
    #[command(subcommand, after_help = "Example:\n  flyball batches list")]
    Batches(batches::BatchesCommand),
    /// Sum up what was spent and saved
    #[command(
        after_help = "Examples:\n  flyball report --days 7\n  flyball report --by team,key --from 2026-11-01 --to 2026-12-01 --zone Europe/Berlin\n  flyball report --by day,model --only team=research --csv\n  flyball report --forecast\n  flyball report --local qwen3:8b --price-usd 2000 --watts 300 --only task=summarise"
    )]
    Report(books::ReportArgs),
    /// Show what a running flyball spends, saves and decides, in this terminal
    #[command(
        after_help = "Examples:\n  flyball top\n  flyball top --once --by key\n  flyball top --admin-url http://10.0.0.7:8485 --admin-token file:admin-token"
    )]
    Top(top::TopArgs),
    /// Make, list, rotate and revoke virtual keys
    #[command(
        subcommand,
        after_help = "Example:\n  flyball key create app --team red --cap 5usd/day"
    )]
    Key(keys::KeyCommand),
    /// Show, stop and resume sessions
    #[command(
        subcommand,
        after_help = "Example:\n  flyball session stop nightly-agent"
    )]
    Session(sessions::SessionCommand),
    /// Show or refresh the price catalogue
    #[command(subcommand, after_help = "Example:\n  flyball prices show gpt-5")]
    Prices(prices::PricesCommand),
    /// Show the routing rules
    #[command(subcommand, after_help = "Example:\n  flyball rules show")]
    Rules(rules::RulesCommand),
}

impl Default for Command {
    fn default() -> Command {
        Command::Serve(ServeArgs::default())
    }
}

/// How to serve.
#[derive(Args, Clone, Debug, Default)]
struct ServeArgs {
    /// Where traffic comes in: IP:PORT or unix:PATH [default: 127.0.0.1:8484]
    #[arg(long, env = "FLYBALL_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where metrics, health and administration are [default: 127.0.0.1:8485]
    #[arg(long, env = "FLYBALL_ADMIN_LISTEN", value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// Real model names to route like "auto", with *; several by comma
    #[arg(
        long,
        env = "FLYBALL_INTERCEPT",
        value_name = "PATTERN",
        value_delimiter = ','
    )]
    intercept: Vec<String>,
    /// Serve the built-in simulated models
    #[arg(long)]
    simulate: bool,
}

impl Common {
    fn overrides(&self, serve: &ServeArgs) -> Overrides {
        Overrides {
            config: self.config.clone(),
            listen: serve.listen.clone(),
            admin_listen: serve.admin_listen.clone(),
            data_dir: self.data_dir.clone(),
            intercept: serve.intercept.clone(),
            simulate: serve.simulate,
            needs: Needs::All,
        }
    }
}

/// Runs the command line.
#[must_use]
pub fn run() -> ExitCode {
    end_quietly_where_nobody_reads();
    let cli = parse(std::env::args_os().collect()).unwrap_or_else(|e| e.exit());
    let common = cli.common;
    let done = match cli.command.unwrap_or_default() {
        Command::Serve(args) => serve::run(&common, &args),
        Command::Demo(args) => demo::run(&common, &args),
        Command::Caps(args) => caps::run(&common, &args),
        Command::Check(args) => inspect::check(&common, &args),
        Command::Explain(args) => inspect::explain(&common, &args),
        Command::Classify(args) => inspect::classify(&args),
        Command::Train(args) => grader::train(&args),
        Command::Fit(args) => grader::fit(&args),
        Command::Eval(args) => grader::eval(&common, &args),
        Command::Compare(args) => compare::run(&common, &args),
        Command::Calibrate(args) => calibrate::run(&common, &args),
        Command::Local(args) => local::run(&common, &args),
        Command::Learn(command) => learn::run(&common, &command),
        Command::Ledger(command) => books::ledger(&common, &command),
        Command::Audit(command) => audit::run(&common, &command),
        Command::Batches(command) => batches::run(&common, &command),
        Command::Report(args) => books::report(&common, &args),
        Command::Top(args) => top::run(&common, &args),
        Command::Key(command) => keys::run(&common, &command),
        Command::Session(command) => sessions::run(&common, &command),
        Command::Prices(command) => prices::run(&common, &command),
        Command::Rules(command) => rules::run(&common, &command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(said) => {
            eprintln!("{said}");
            ExitCode::FAILURE
        }
    }
}

/// `flyball prices show | head`: whoever reads has seen enough, which is not a panic. Any other panic is told as always.
fn end_quietly_where_nobody_reads() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let said = info.payload().downcast_ref::<String>();
        if said.is_some_and(|s| s.starts_with("failed printing to stdout: Broken pipe")) {
            std::process::exit(0);
        }
        tell(info);
    }));
}

/// Reads the arguments. Where they name no command they are those of `serve`.
fn parse(mut args: Vec<OsString>) -> Result<Cli, clap::Error> {
    let first = Cli::try_parse_from(&args);
    let unnamed = match &first {
        Ok(cli) => cli.command.is_none(),
        Err(e) => e.kind() == ErrorKind::UnknownArgument && !names_command(&args),
    };
    if !unnamed {
        return first;
    }
    args.insert(args.len().min(1), "serve".into());
    Cli::try_parse_from(args)
}

/// The first word that is no option and no option's value is a command's name.
fn names_command(args: &[OsString]) -> bool {
    let cli = Cli::command();
    let serve = cli.find_subcommand("serve");
    let options: Vec<_> = cli
        .get_arguments()
        .chain(serve.into_iter().flat_map(clap::Command::get_arguments))
        .filter(|option| option.get_action().takes_values())
        .collect();
    let takes_next = |word: &str| match word.strip_prefix("--") {
        Some(long) => options.iter().any(|o| o.get_long() == Some(long)),
        None => {
            let short = word.strip_prefix('-').map(str::chars);
            let short = short.and_then(|mut s| s.next().filter(|_| s.next().is_none()));
            short.is_some() && options.iter().any(|o| o.get_short() == short)
        }
    };
    let mut words = args.iter().skip(1);
    while let Some(word) = words.next() {
        let word = word.to_string_lossy();
        if !word.starts_with('-') {
            return cli.get_subcommands().any(|c| word == c.get_name());
        }
        if takes_next(&word) {
            words.next();
        }
    }
    false
}

/// One line for each mistake.
fn joined(complaints: &[crate::config::Complaint]) -> String {
    complaints
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The configuration, for commands that send nothing and need only a part of it.
fn reading(common: &Common, needs: Needs) -> Result<Config, String> {
    let overrides = Overrides {
        needs,
        ..common.overrides(&ServeArgs::default())
    };
    crate::config::load(&overrides).map_err(|all| joined(&all))
}

/// The configuration, for commands that only look at the books: they need no provider, and no secret but the ledger's.
fn for_books(common: &Common) -> Result<Config, String> {
    reading(common, Needs::Books)
}

/// Where the books are. With `--data-dir` alone no configuration is read.
fn books_at(common: &Common) -> Result<crate::ledger::Settings, String> {
    match (&common.data_dir, &common.config) {
        (Some(dir), None) => Ok(crate::ledger::Settings::embedded(dir)),
        _ => for_books(common).map(|c| crate::process::settings_of(&c)),
    }
}

/// The keys that stand in the configuration. With `--data-dir` alone none is read.
fn configured_at(common: &Common) -> Result<Vec<Key>, String> {
    match (&common.data_dir, &common.config) {
        (Some(_), None) => Ok(Vec::new()),
        _ => for_books(common).map(|config| config.keys),
    }
}

/// Who gives this command, for the audit log: what the machine says, which it need not know.
fn who() -> String {
    let names = ["USER", "LOGNAME", "USERNAME"];
    let name = names.iter().find_map(|name| std::env::var(name).ok());
    let name: String = name.unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    match name.is_empty() {
        true => "command line".to_owned(),
        false => format!("command line, {name}"),
    }
}

/// Notes in the audit log what this command has done.
fn noted(books: &mut dyn Store, what: &str, of: &str, after: Value) -> Result<(), String> {
    let deed = Deed {
        at_ms: now_ms(),
        who: who(),
        what: what.to_owned(),
        of: of.to_owned(),
        before: Value::Null,
        after,
    };
    books.note(&deed).map(drop).map_err(|e| e.detail)
}

/// A runtime for the commands that talk.
fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("flyball cannot start its runtime: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_help_shows_the_options_of_serve() {
        let mut cli = Cli::command();
        cli.build();
        let help = cli.render_help().to_string();
        let serve = cli.find_subcommand("serve").expect("it is there");
        for option in serve.get_arguments().filter_map(|o| o.get_long()) {
            assert!(help.contains(&format!("--{option}")), "{option}: {help}");
        }
        assert!(help.contains(".local/share/flyball"), "{help}");
    }

    #[test]
    fn every_help_has_an_example() {
        fn look(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Example"), "{path} --help:\n{help}");
            let inner = command.get_subcommands().filter(|c| c.get_name() != "help");
            inner.for_each(|c| look(c, &path));
        }
        look(&Cli::command(), "");
    }

    #[test]
    fn options_without_a_command_are_those_of_serve() {
        let read = |line: &str| parse(line.split(' ').map(OsString::from).collect());
        for line in [
            "flyball --intercept gpt-* --listen 127.0.0.1:1",
            "flyball --data-dir x --listen 127.0.0.1:1 --intercept gpt-*",
            "flyball serve --intercept gpt-* --listen 127.0.0.1:1",
            "flyball --data-dir report --intercept gpt-* --listen 127.0.0.1:1",
            "flyball --intercept gpt-* --data-dir=serve --listen 127.0.0.1:1 --config report",
        ] {
            match read(line).expect(line).command {
                Some(Command::Serve(args)) => {
                    assert_eq!(args.listen.as_deref(), Some("127.0.0.1:1"), "{line}");
                    assert_eq!(args.intercept, ["gpt-*"], "{line}");
                }
                other => panic!("{line}: {other:?}"),
            }
        }
        assert!(matches!(
            read("flyball --config f").expect("fine").command,
            Some(Command::Serve(_))
        ));
        for (line, said) in [
            ("flyball report --listen x", "'--listen'"),
            ("flyball --data-dir serve report --listen x", "'--listen'"),
            ("flyball --listne x", "'--listen'"),
            ("flyball serv", "'serv'"),
        ] {
            let text = read(line).expect_err(line).to_string();
            assert!(text.contains(said), "{line}: {text}");
        }
        assert_eq!(
            read("flyball --help").expect_err("help").kind(),
            ErrorKind::DisplayHelp
        );
    }
}
