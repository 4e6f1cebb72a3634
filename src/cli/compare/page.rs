//! The comparison as one HTML file that needs nothing else: the arms with what they cost and how good they were, a picture of that, and the
//! answers side by side.

use super::asking::Row;
use super::questions::Question;
use super::{Summary, dollars};
use std::collections::HashMap;
use std::fmt::Write;

/// Questions whose answers are shown; a page of more is slow to open.
const SHOWN_MAX: usize = 300;
/// Characters of an answer that are shown.
const ANSWER_MAX: usize = 20_000;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1a1a1a;background:#fff}\
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{padding:.35rem .6rem;text-align:right;border-bottom:1px solid #ddd}\
th:first-child,td:first-child{text-align:left}details{border-top:1px solid #ddd;padding:.5rem 0}summary{cursor:pointer}\
.answers{display:grid;grid-template-columns:repeat(auto-fit,minmax(18rem,1fr));gap:1rem}.answers>div{min-width:0}\
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f5f5f5;padding:.6rem;border-radius:.3rem}.good{color:#2b6e2b}.bad{color:#a02020}svg{max-width:100%;height:auto}\
@media(prefers-color-scheme:dark){body{background:#16181c;color:#e6e6e6}th,td,details{border-color:#3a3d44}pre{background:#22252b}.good{color:#7fd07f}.bad{color:#ff9a9a}}";

/// The page.
pub(super) fn page(
    title: &str,
    arms: &[Summary],
    questions: &[Question],
    rows: &HashMap<(String, String), Row>,
) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>{0}</title><style>{STYLE}</style>\n<h1>{0}</h1>\n",
        escaped(title)
    );
    table(&mut out, arms);
    picture(&mut out, arms);
    let _ = writeln!(out, "<h2>Answers</h2>");
    for question in questions.iter().take(SHOWN_MAX) {
        answers(&mut out, question, arms, rows);
    }
    if questions.len() > SHOWN_MAX {
        let more = questions.len() - SHOWN_MAX;
        let _ = writeln!(
            out,
            "<p>{more} more questions are in the file of results.</p>"
        );
    }
    out
}

// Writing to a string cannot fail, here and below.
fn table(out: &mut String, arms: &[Summary]) {
    let _ = writeln!(
        out,
        "<table><thead><tr><th scope=\"col\">arm<th scope=\"col\">answered<th scope=\"col\">good<th scope=\"col\">cost<th scope=\"col\">an answer<th scope=\"col\">output<th scope=\"col\">of it hidden<th scope=\"col\">first token<th scope=\"col\">tokens a second</thead><tbody>"
    );
    for arm in arms {
        let cells = arm.cells();
        let _ = write!(out, "<tr><th scope=\"row\">{}", escaped(&cells[0]));
        for cell in &cells[1..] {
            let _ = write!(out, "<td>{}", escaped(cell));
        }
        out.push('\n');
    }
    out.push_str("</tbody></table>\n");
}

/// Each arm as a dot: what an answer costs from left to right, how good they are from bottom to top.
fn picture(out: &mut String, arms: &[Summary]) {
    let graded: Vec<(&Summary, f64)> = arms.iter().filter_map(|a| Some((a, a.good?))).collect();
    let dearest = arms.iter().map(Summary::usd_an_answer).fold(0.0, f64::max);
    if graded.is_empty() || dearest <= 0.0 {
        return;
    }
    let (x, y) = (
        |usd: f64| 60.0 + usd / dearest * 500.0,
        |good: f64| 300.0 - good * 260.0,
    );
    let _ = writeln!(
        out,
        "<h2>What good answers cost</h2>\n<svg viewBox=\"0 0 680 350\" role=\"img\" aria-label=\"Share of good answers by cost of an answer\" font-family=\"system-ui,sans-serif\" font-size=\"12\" fill=\"currentColor\" stroke=\"none\">\
         <path d=\"M60 40V300H600\" fill=\"none\" stroke=\"currentColor\"/><text x=\"60\" y=\"28\">share of good answers</text><text x=\"600\" y=\"335\" text-anchor=\"end\">dollars an answer</text>"
    );
    for share in [0.0, 0.5, 1.0] {
        let _ = writeln!(
            out,
            "<text x=\"52\" y=\"{:.0}\" text-anchor=\"end\">{share}</text>",
            y(share) + 4.0
        );
    }
    for share in [0.5, 1.0] {
        let _ = writeln!(
            out,
            "<text x=\"{:.0}\" y=\"318\" text-anchor=\"middle\">{:.6}</text>",
            x(dearest * share),
            dearest * share
        );
    }
    for (arm, good) in graded {
        let (x, y) = (x(arm.usd_an_answer()), y(good));
        let _ = writeln!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"#0b7285\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x + 8.0,
            y - 6.0,
            escaped(&arm.arm)
        );
    }
    out.push_str("</svg>\n");
}

fn answers(
    out: &mut String,
    question: &Question,
    arms: &[Summary],
    rows: &HashMap<(String, String), Row>,
) {
    let short: String = question.shown.chars().take(120).collect();
    let _ = writeln!(
        out,
        "<details><summary>{}: {}</summary><pre>{}</pre><div class=\"answers\">",
        escaped(&question.id),
        escaped(&short),
        escaped(&cut(&question.shown))
    );
    for arm in arms {
        let Some(row) = rows.get(&(question.id.clone(), arm.arm.clone())) else {
            continue;
        };
        let grade = match row.score {
            Some(score) if score >= 0.5 => format!(" <span class=\"good\">{score}</span>"),
            Some(score) => format!(" <span class=\"bad\">{score}</span>"),
            None => String::new(),
        };
        let text = row.error.as_ref().unwrap_or(&row.answer);
        let _ = writeln!(
            out,
            "<div><h3>{}{grade}</h3><p>{}, {} tokens, {} hidden, {} ms</p><pre>{}</pre></div>",
            escaped(&arm.arm),
            dollars(row.cost_pico_usd),
            row.output,
            row.reasoning,
            row.total_ms,
            escaped(&cut(text))
        );
    }
    out.push_str("</div></details>\n");
}

fn cut(text: &str) -> String {
    text.chars().take(ANSWER_MAX).collect()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}
