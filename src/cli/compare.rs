//! `flyball compare`: the same questions to two or more arms, with what the answers cost, how fast they came and how good they were.
//!
//! The questions go through a flyball of our own, with the configuration's providers, in a folder that is gone afterwards and under a cap of
//! its own, or to one that runs (`--against`). Every answer is written down at once, so that a comparison that was broken off goes on where it was.

mod asking;
mod grading;
mod keeping;
mod page;
mod questions;

use super::own::OwnFlyball;
use super::shown::table;
use super::{Common, runtime};
use crate::judge::{self, Verdict};
use crate::learn::chance::Chance;
use crate::ledger::cap::Cap;
use crate::ledger::store::Key;
use crate::money::PicoUsd;
use asking::{Asked, QuestionOutcome, Row};
use clap::Args;
use grading::Grader;
use indicatif::{ProgressBar, ProgressStyle};
use questions::Question;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinSet;

/// Arms of one comparison.
const ARMS_MAX: usize = 12;
/// What other questions hold of the cap is free again when they are answered.
const CAP_WAIT: Duration = Duration::from_secs(3600);

#[derive(Args, Clone, Debug)]
pub(super) struct CompareArgs {
    /// The question
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    question: Option<String>,
    /// A file of questions, one JSON a line: prompt or messages, and if wanted id, answer, schema
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The arms, model or model@effort, by comma; the first is what judges hold the others against
    #[arg(long, value_delimiter = ',', required = true, value_name = "ARM,ARM")]
    arms: Vec<String>,
    /// How answers are graded: exact, number, regex, regex:PATTERN, schema, command:COMMAND, judge:ARM, person
    #[arg(long, value_name = "HOW")]
    grade: Option<String>,
    /// What all of it may cost, in dollars; not with --against, where the key's own caps hold
    #[arg(
        long,
        default_value = "1",
        value_name = "DOLLARS",
        conflicts_with = "against"
    )]
    max_usd: String,
    /// The most tokens of an answer [default: answer_tokens_max of the configuration]
    #[arg(long, value_name = "TOKENS")]
    answer_tokens: Option<u64>,
    /// How many questions are under way at once
    #[arg(long, default_value_t = 4)]
    parallel: usize,
    /// Where each answer is written, one JSON a line; what stands there already is not asked again
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write a page with the answers side by side
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the scores as outcomes that `flyball fit` and `flyball eval` read
    #[arg(long, value_name = "FILE", requires = "grade")]
    outcomes: Option<PathBuf>,
    /// Keep the scores as outcomes in the books, from which `flyball calibrate` learns
    #[arg(long, requires = "grade")]
    keep: bool,
    /// The flyball to send to, e.g. http://127.0.0.1:8484 [default: one of its own, with the configuration's providers]
    #[arg(long, value_name = "URL")]
    against: Option<String>,
    /// A virtual key to send with
    #[arg(
        long,
        env = "FLYBALL_KEY",
        hide_env_values = true,
        requires = "against"
    )]
    key: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What is asked of whom.
struct Comparison {
    arms: Vec<String>,
    questions: Vec<Question>,
    grader: Option<Grader>,
    rows: HashMap<(String, String), Row>,
    /// The cap was reached, in the words of the refusal.
    stopped: Option<String>,
    /// How often a judge has said the same in both orders, of how many.
    agreed: (usize, usize),
}

/// How one arm did.
pub(super) struct Summary {
    arm: String,
    asked: usize,
    answered: usize,
    /// The mean score, where answers were graded.
    good: Option<f64>,
    /// Within which it lies, with 95 % confidence (Wilson's interval).
    within: Option<(f64, f64)>,
    cost_pico_usd: i64,
    output: u64,
    reasoning: u64,
    first_token_ms: Option<u64>,
    tokens_per_second: Option<f64>,
}

pub(super) fn run(common: &Common, args: &CompareArgs) -> Result<(), String> {
    let mut comparison = read(args)?;
    // Before anything is spent it is known whether it can be kept.
    let mut kept = args.keep.then(|| keeping::Kept::open(common)).transpose()?;
    runtime()?.block_on(async {
        let house = match &args.against {
            Some(url) => House {
                asked: Asked {
                    url: url.trim_end_matches('/').to_owned(),
                    key: args.key.clone(),
                    tokens_max: args.answer_tokens,
                },
                own: None,
            },
            None => House::own(common, args, &comparison).await?,
        };
        let done = comparison.go(&house.asked, args).await;
        house.close().await?;
        done
    })?;
    if let Some(kept) = &mut kept {
        kept.keep(&comparison)?;
    }
    comparison.tell(args)
}

fn read(args: &CompareArgs) -> Result<Comparison, String> {
    let arms: Vec<String> = args.arms.iter().map(|a| a.trim().to_owned()).collect();
    if arms.len() < 2 || arms.len() > ARMS_MAX {
        return Err(format!(
            "a comparison is of 2 to {ARMS_MAX} arms: --arms gpt-5-nano,gpt-5@high"
        ));
    }
    if let Some(twice) = arms
        .iter()
        .enumerate()
        .find(|(n, a)| arms[..*n].contains(a))
    {
        return Err(format!("the arm \"{}\" stands twice", twice.1));
    }
    let questions = match (&args.file, &args.question) {
        (Some(file), _) => questions::read(file)?,
        (None, Some(text)) => vec![Question::alone(text)],
        (None, None) => Vec::new(),
    };
    let grader = args.grade.as_deref().map(Grader::parse).transpose()?;
    if let Some(grader) = &grader
        && let Some((question, lacks)) = questions.iter().find_map(|q| Some((q, grader.lacks(q)?)))
    {
        let how = args.grade.as_deref().unwrap_or_default();
        return Err(format!(
            "--grade {how} needs \"{lacks}\" in each question of --file; \"{}\" has none",
            question.id
        ));
    }
    let out = args.out.as_deref();
    let mut rows = out.map(resumed).transpose()?.unwrap_or_default();
    if let Some(grader) = &grader {
        grade_again(&questions, grader, &mut rows)?;
    }
    Ok(Comparison {
        arms,
        questions,
        grader,
        rows,
        stopped: None,
        agreed: (0, 0),
    })
}

/// The answers of a comparison that was broken off.
fn resumed(path: &Path) -> Result<HashMap<(String, String), Row>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(e) => return Err(format!("{}: {e}", path.display())),
    };
    let mut rows = HashMap::new();
    for (line, number) in text.lines().zip(1..) {
        // The last line may have been cut off with the process.
        let whole = text.ends_with('\n') || number < text.lines().count();
        match serde_json::from_str::<Row>(line) {
            Ok(row) if row.error.is_none() => {
                rows.insert((row.id.clone(), row.arm.clone()), row);
            }
            Err(e) if whole => {
                return Err(format!(
                    "{}:{number}: {e}; --out names a file of answers that flyball compare has written, or a new one",
                    path.display()
                ));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(rows)
}

/// Opens the file of answers to write on at its end. What a process that was broken off has written half of its last line is taken away.
fn results(path: &Path) -> Result<File, String> {
    let told = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = File::options()
        .create(true)
        .read(true)
        .append(true)
        .open(path)
        .map_err(told)?;
    let mut written = Vec::new();
    file.read_to_end(&mut written).map_err(told)?;
    let whole = written
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |n| n + 1);
    if whole < written.len() {
        file.set_len(u64::try_from(whole).unwrap_or(u64::MAX))
            .map_err(told)?;
    }
    Ok(file)
}

/// Grades the answers of a comparison that was broken off: it may have been graded in another way, or not at all.
fn grade_again(
    questions: &[Question],
    grader: &Grader,
    rows: &mut HashMap<(String, String), Row>,
) -> Result<(), String> {
    let by_id: HashMap<&str, &Question> = questions.iter().map(|q| (q.id.as_str(), q)).collect();
    for row in rows.values_mut() {
        if let Some(question) = by_id.get(row.id.as_str())
            && let Some(score) = grader.score(question, &row.answer)?
        {
            row.score = Some(score);
        }
    }
    Ok(())
}

/// Where the questions go, and what has to be taken down afterwards.
struct House {
    asked: Asked,
    own: Option<OwnFlyball>,
}

impl House {
    /// A flyball of our own, with a key whose cap is what the comparison may cost.
    async fn own(
        common: &Common,
        args: &CompareArgs,
        comparison: &Comparison,
    ) -> Result<House, String> {
        let cap = Cap::parse(&format!("{}usd/total", args.max_usd))
            .map_err(|why| format!("--max-usd: {why}"))?;
        let secret = format!("fb_compare_{}", uuid::Uuid::now_v7());
        let key = Key {
            name: "compare".into(),
            hash: crate::caller::hash(secret.as_bytes()),
            created: crate::ledger::now(),
            caps: vec![cap],
            ..Key::default()
        };
        let own = OwnFlyball::start(common, &key, |config| {
            // Every arm is asked with the same token limit; who finds the cap held by the others waits for them.
            (config.lower_limits, config.cap_wait) = (false, CAP_WAIT);
            let judge = comparison.grader.iter().filter_map(|g| match g {
                Grader::Judge(arm) => Some(arm),
                _ => None,
            });
            for arm in comparison.arms.iter().chain(judge) {
                if config.fleet.arm(arm).is_none() && config.fleet.named(arm).is_none() {
                    let (why, help) = crate::route::policy::no_arm(&config.fleet, arm);
                    return Err(format!(
                        "--arms: {why}{}",
                        help.map(|h| format!("; {h}")).unwrap_or_default()
                    ));
                }
            }
            Ok(())
        });
        let own = own.await?;
        Ok(House {
            asked: Asked {
                url: own.url(),
                key: Some(secret),
                tokens_max: args.answer_tokens,
            },
            own: Some(own),
        })
    }

    async fn close(self) -> Result<(), String> {
        match self.own {
            Some(own) => own.close().await,
            None => Ok(()),
        }
    }
}

impl Comparison {
    async fn go(&mut self, asked: &Asked, args: &CompareArgs) -> Result<(), String> {
        let mut out = args.out.as_deref().map(results).transpose()?;
        self.ask(asked, args, out.as_mut()).await?;
        match self.grader.clone() {
            Some(Grader::Judge(judge)) => self.judge(asked, &judge).await?,
            Some(Grader::Person) => self.ask_somebody(&mut std::io::stdin().lock())?,
            _ => return Ok(()),
        }
        // What was graded afterwards is written once more; the later line counts.
        for row in self.rows.values() {
            write_row(out.as_mut(), row)?;
        }
        Ok(())
    }

    /// Asks whatever has not been answered yet.
    async fn ask(
        &mut self,
        asked: &Asked,
        args: &CompareArgs,
        mut out: Option<&mut File>,
    ) -> Result<(), String> {
        let open: Vec<(Question, String)> = self
            .questions
            .iter()
            .flat_map(|q| self.arms.iter().map(move |arm| (q.clone(), arm.clone())))
            .filter(|(q, arm)| !self.rows.contains_key(&(q.id.clone(), arm.clone())))
            .collect();
        let bar = bar(open.len());
        let mut asking = JoinSet::new();
        let mut open = open.into_iter();
        loop {
            while self.stopped.is_none() && asking.len() < args.parallel.max(1) {
                let Some((question, arm)) = open.next() else {
                    break;
                };
                let asked = asked.clone();
                let grader = self.grader.clone();
                asking.spawn(async move { graded(&asked, &question, &arm, grader).await });
            }
            let Some(said) = asking.join_next().await else {
                break;
            };
            match said.map_err(|e| e.to_string())?? {
                QuestionOutcome::CapReached(why) => self.stopped = Some(why),
                QuestionOutcome::Row(row) => {
                    write_row(out.as_deref_mut(), &row)?;
                    self.rows.insert((row.id.clone(), row.arm.clone()), *row);
                }
            }
            bar.inc(1);
            bar.set_message(format!("{} spent", dollars(self.spent())));
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn spent(&self) -> i64 {
        self.rows.values().map(|row| row.cost_pico_usd).sum()
    }

    /// Another arm says which of two answers is better, in both orders: what it says in one order only is a tie.
    async fn judge(&mut self, asked: &Asked, judge: &str) -> Result<(), String> {
        let (first, others) = self.arms.split_first().ok_or("no arms")?;
        let bar = bar(self.questions.len() * others.len());
        let mut scores: Vec<(String, String, f64)> = Vec::new();
        for question in &self.questions {
            let answer = |arm: &String| {
                let row = self.rows.get(&(question.id.clone(), arm.clone()))?;
                row.error.is_none().then(|| row.answer.clone())
            };
            let Some(reference) = answer(first) else {
                continue;
            };
            let mut own = Vec::new();
            for arm in others {
                bar.inc(1);
                let Some(other) = answer(arm) else { continue };
                let one = prefers(asked, judge, &question.shown, &other, &reference).await?;
                let two = prefers(asked, judge, &question.shown, &reference, &other).await?;
                let (Some(one), Some(two)) = (one, two) else {
                    continue;
                };
                let Verdict { score, agreed } = judge::verdict(one, two);
                self.agreed.1 += 1;
                self.agreed.0 += usize::from(agreed);
                own.push(score);
                scores.push((question.id.clone(), arm.clone(), score));
            }
            if !own.is_empty() {
                let count = f64::from(u32::try_from(own.len()).unwrap_or(u32::MAX));
                let mean = own.iter().sum::<f64>() / count;
                scores.push((question.id.clone(), first.clone(), 1.0 - mean));
            }
        }
        bar.finish_and_clear();
        for (id, arm, score) in scores {
            if let Some(row) = self.rows.get_mut(&(id, arm)) {
                row.score = Some(score);
            }
        }
        Ok(())
    }

    /// Shows the answers without the names of their arms, in no order that says anything, and asks of each whether it is good.
    fn ask_somebody(&mut self, input: &mut impl BufRead) -> Result<(), String> {
        let mut chance = Chance::new(u64::from(std::process::id()));
        for question in &self.questions {
            println!("\n=== {}: {}", question.id, question.shown);
            let mut arms = self.arms.clone();
            chance.shuffle(&mut arms);
            for arm in arms {
                let Some(row) = self.rows.get_mut(&(question.id.clone(), arm)) else {
                    continue;
                };
                if row.error.is_some() || row.score.is_some() {
                    continue;
                }
                println!("\n--- an answer\n{}\n", row.answer);
                print!("Is it good? y, n, or s to skip: ");
                std::io::stdout().flush().map_err(|e| e.to_string())?;
                let mut line = String::new();
                if input.read_line(&mut line).map_err(|e| e.to_string())? == 0 {
                    println!();
                    return Ok(());
                }
                row.score = match line.trim() {
                    "y" | "yes" => Some(1.0),
                    "n" | "no" => Some(0.0),
                    _ => None,
                };
            }
        }
        Ok(())
    }

    fn summaries(&self) -> Vec<Summary> {
        self.arms.iter().map(|arm| self.summary(arm)).collect()
    }

    fn summary(&self, arm: &str) -> Summary {
        let mine = |q: &Question| self.rows.get(&(q.id.clone(), arm.to_owned()));
        let rows: Vec<&Row> = self.questions.iter().filter_map(mine).collect();
        let answered: Vec<&&Row> = rows.iter().filter(|r| r.error.is_none()).collect();
        let scores: Vec<f64> = answered.iter().filter_map(|r| r.score).collect();
        let count = f64::from(u32::try_from(scores.len()).unwrap_or(u32::MAX));
        let good = (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / count);
        let rates = answered.iter().filter_map(|r| r.tokens_per_second);
        Summary {
            arm: arm.to_owned(),
            asked: rows.len(),
            answered: answered.len(),
            good,
            within: good.map(|good| wilson(good, count)),
            cost_pico_usd: rows.iter().map(|r| r.cost_pico_usd).sum(),
            output: answered.iter().map(|r| r.output).sum(),
            reasoning: answered.iter().map(|r| r.reasoning).sum(),
            first_token_ms: median(answered.iter().filter_map(|r| r.first_token_ms)),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rate is no large number"
            )]
            tokens_per_second: median(rates.map(|r| (r * 10.0) as u64))
                .map(|r| f64::from(u32::try_from(r).unwrap_or(u32::MAX)) / 10.0),
        }
    }

    fn tell(&self, args: &CompareArgs) -> Result<(), String> {
        let arms = self.summaries();
        if let Some(path) = &args.html {
            let title = match &args.question {
                Some(question) => question.chars().take(80).collect(),
                None => format!("{} questions to {} arms", self.questions.len(), arms.len()),
            };
            let page = page::page(&title, &arms, &self.questions, &self.rows);
            std::fs::write(path, page).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        if let Some(path) = &args.outcomes {
            self.write_outcomes(path)?;
        }
        match args.json {
            true => println!("{}", self.as_json(&arms)),
            false => self.print(&arms),
        }
        match &self.stopped {
            Some(why) => Err(format!("stopped before the end: {why}")),
            None => Ok(()),
        }
    }

    fn print(&self, arms: &[Summary]) {
        if let [question] = &self.questions[..] {
            for arm in arms {
                let Some(row) = self.rows.get(&(question.id.clone(), arm.arm.clone())) else {
                    continue;
                };
                println!(
                    "--- {}\n{}\n",
                    arm.arm,
                    row.error.as_ref().unwrap_or(&row.answer)
                );
            }
        }
        let mut all = table(&[
            "arm",
            "answered",
            "good",
            "cost",
            "an answer",
            "output",
            "hidden",
            "first token",
            "tokens/s",
        ]);
        for arm in arms {
            all.add_row(arm.cells());
        }
        println!("{all}");
        if self.agreed.1 > 0 {
            println!(
                "The judge said the same in both orders in {} of {} pairs; what it said in one order only counts as a tie.",
                self.agreed.0, self.agreed.1
            );
        }
        let errors: Vec<&Row> = self.rows.values().filter(|r| r.error.is_some()).collect();
        if let Some(row) = errors.first() {
            println!(
                "{} questions were not answered; one of them, {} by {}: {}",
                errors.len(),
                row.id,
                row.arm,
                row.error.as_deref().unwrap_or_default()
            );
        }
    }

    fn as_json(&self, arms: &[Summary]) -> Value {
        let row = |a: &Summary| {
            json!({
                "arm": a.arm, "asked": a.asked, "answered": a.answered, "good": a.good, "good_within": a.within,
                "cost_usd": usd(a.cost_pico_usd), "output": a.output, "reasoning": a.reasoning,
                "first_token_ms": a.first_token_ms, "tokens_per_second": a.tokens_per_second,
            })
        };
        let of = |q: &Question| {
            let rows = self
                .arms
                .iter()
                .filter_map(|arm| self.rows.get(&(q.id.clone(), arm.clone())));
            let rows = rows.map(|row| serde_json::to_value(row).unwrap_or_default());
            json!({"id": q.id, "answers": rows.collect::<Vec<_>>()})
        };
        json!({
            "arms": arms.iter().map(row).collect::<Vec<_>>(),
            "judge": (self.agreed.1 > 0).then(|| json!({"agreed": self.agreed.0, "pairs": self.agreed.1})),
            "stopped": self.stopped,
            "questions": self.questions.iter().map(of).collect::<Vec<_>>(),
        })
    }

    /// The scores by prompt, as `fit` reads them.
    fn write_outcomes(&self, path: &Path) -> Result<(), String> {
        let told = |e: std::io::Error| format!("{}: {e}", path.display());
        let mut file = std::io::BufWriter::new(File::create(path).map_err(told)?);
        for question in &self.questions {
            let score = |arm: &String| {
                let row = self.rows.get(&(question.id.clone(), arm.clone()))?;
                Some((arm.clone(), json!(row.score?)))
            };
            let scores: serde_json::Map<String, Value> =
                self.arms.iter().filter_map(score).collect();
            if !scores.is_empty() {
                let line = json!({"prompt": question.shown, "scores": scores});
                writeln!(file, "{line}").map_err(told)?;
            }
        }
        file.flush().map_err(told)
    }
}

impl Summary {
    /// The cells of its row, its name first.
    pub(super) fn cells(&self) -> [String; 9] {
        let dash = || "-".to_owned();
        let good = self.good.zip(self.within).map(|(good, (low, high))| {
            format!(
                "{:.0} % ({:.0} to {:.0})",
                good * 100.0,
                low * 100.0,
                high * 100.0
            )
        });
        [
            self.arm.clone(),
            format!("{} of {}", self.answered, self.asked),
            good.unwrap_or_else(dash),
            dollars(self.cost_pico_usd),
            format!("${:.6}", self.usd_an_answer()),
            self.output.to_string(),
            self.reasoning.to_string(),
            self.first_token_ms
                .map_or_else(dash, |ms| format!("{ms} ms")),
            self.tokens_per_second
                .map_or_else(dash, |rate| format!("{rate:.0}")),
        ]
    }

    /// Dollars of an answer, for people and pictures.
    pub(super) fn usd_an_answer(&self) -> f64 {
        let answers = f64::from(u32::try_from(self.answered.max(1)).unwrap_or(u32::MAX));
        usd(self.cost_pico_usd).parse::<f64>().unwrap_or(0.0) / answers
    }
}

/// One question to one arm, with its grade where that needs no other answer.
async fn graded(
    asked: &Asked,
    question: &Question,
    arm: &str,
    grader: Option<Grader>,
) -> Result<QuestionOutcome, String> {
    let mut row = match asked.ask(&question.id, arm, &question.messages).await {
        QuestionOutcome::Row(row) => row,
        stopped @ QuestionOutcome::CapReached(_) => return Ok(stopped),
    };
    if let (None, Some(grader)) = (&row.error, grader) {
        let (question, answer) = (question.clone(), row.answer.clone());
        let work = move || grader.score(&question, &answer);
        row.score = tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| e.to_string())??;
    }
    Ok(QuestionOutcome::Row(row))
}

/// What a judge says of two answers, the first of which it knows as A; `None` where it says neither.
async fn prefers(
    asked: &Asked,
    judge: &str,
    question: &str,
    a: &str,
    b: &str,
) -> Result<Option<Option<bool>>, String> {
    let messages = json!([{"role": "user", "content": judge::question(question, a, b)}]);
    match asked.ask("judge", judge, &messages).await {
        QuestionOutcome::Row(row) => match row.error {
            None => Ok(judge::preference(&row.answer)),
            Some(why) => Err(format!("the judge has failed: {why}")),
        },
        QuestionOutcome::CapReached(why) => Err(format!("the judge could not be asked: {why}")),
    }
}

fn write_row(out: Option<&mut File>, row: &Row) -> Result<(), String> {
    let Some(out) = out else { return Ok(()) };
    let line = serde_json::to_string(row).map_err(|e| e.to_string())?;
    writeln!(out, "{line}").map_err(|e| format!("--out: {e}"))
}

fn bar(length: usize) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(length).unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Wilson's interval of a share of so many, with 95 % confidence.
fn wilson(share: f64, count: f64) -> (f64, f64) {
    let z = 1.96_f64;
    let middle = share + z * z / (2.0 * count);
    let reach = z * (share * (1.0 - share) / count + z * z / (4.0 * count * count)).sqrt();
    let whole = 1.0 + z * z / count;
    (
        ((middle - reach) / whole).max(0.0),
        ((middle + reach) / whole).min(1.0),
    )
}

fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn usd(pico: i64) -> String {
    PicoUsd(i128::from(pico)).usd_text()
}

/// Dollars, for people.
pub(super) fn dollars(pico: i64) -> String {
    super::shown::dollars(PicoUsd(i128::from(pico)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_few_is_known_roughly() {
        let (low, high) = wilson(1.0, 10.0);
        assert!((0.70..0.74).contains(&low) && high <= 1.0, "{low} {high}");
        let (low, high) = wilson(0.5, 1_000.0);
        assert!((0.46..0.48).contains(&low) && (0.52..0.54).contains(&high));
        assert_eq!(median([3, 1, 2].into_iter()), Some(2));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn somebody_grades_without_knowing_who_has_answered() {
        let row = |arm: &str| {
            let row = Row {
                id: "1".into(),
                arm: arm.into(),
                ..Row::default()
            };
            (("1".to_owned(), arm.to_owned()), row)
        };
        let mut comparison = Comparison {
            arms: vec!["a".into(), "b".into()],
            questions: vec![Question::alone("?")],
            grader: Some(Grader::Person),
            rows: [row("a"), row("b")].into_iter().collect(),
            stopped: None,
            agreed: (0, 0),
        };
        comparison
            .ask_somebody(&mut "y\nn\n".as_bytes())
            .expect("asked");
        let mut scores: Vec<_> = comparison.rows.values().map(|r| r.score).collect();
        scores.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
        assert_eq!(scores, [Some(0.0), Some(1.0)]);
    }
}
