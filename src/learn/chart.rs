//! The cost–quality curve as a picture (SVG): how much of the strong model's advantage each router keeps, by the share of calls
//! that it sends there, or by what it costs.

use super::metrics::{Pair, Point};
use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 56.0;
/// Told apart without colours too: by dashes.
const STYLES: [(&str, &str); 7] = [
    ("#0b7285", ""),
    ("#862e9c", "8 3"),
    ("#e67700", "5 4"),
    ("#868e96", "2 3"),
    ("#adb5bd", "1 4"),
    ("#2b8a3e", "12 4"),
    ("#c92a2a", "3 1"),
];

/// Draws the curves, each with its name; `ends` are the scores of the weak and the strong model alone.
#[must_use]
pub fn svg(title: &str, ends: Pair, curves: &[(&str, Vec<Point>)]) -> String {
    let named = Named {
        title,
        across: "calls to the strong model",
    };
    drawn(&named, ends, curves)
}

/// The same where the points' shares are shares of what the strong model alone costs. A curve of one point is a dot.
#[must_use]
pub fn svg_of_costs(title: &str, ends: Pair, curves: &[(&str, Vec<Point>)]) -> String {
    let named = Named {
        title,
        across: "cost, of what the strong model alone costs",
    };
    drawn(&named, ends, curves)
}

/// What stands above a picture and below it.
struct Named<'a> {
    title: &'a str,
    across: &'a str,
}

fn drawn(named: &Named<'_>, ends: Pair, curves: &[(&str, Vec<Point>)]) -> String {
    let (low, high) = span(ends, curves);
    let shares = curves
        .iter()
        .flat_map(|(_, c)| c.iter().map(|p| p.strong_share));
    // What costs more than the strong model alone is shown too.
    let widest = shares.fold(1.0, f64::max);
    let x = |share: f64| MARGIN + share / widest * (WIDTH - 2.0 * MARGIN);
    let y =
        |quality: f64| HEIGHT - MARGIN - (quality - low) / (high - low) * (HEIGHT - 2.0 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n<text x=\"{MARGIN}\" y=\"24\" font-size=\"15\">{}</text>\n",
        escaped(named.title)
    );
    axes(&mut out, named, widest, (low, high), (&x, &y));
    for (at, (name, points)) in curves.iter().enumerate() {
        let (colour, dashes) = STYLES[at % STYLES.len()];
        let path: Vec<String> = points
            .iter()
            .map(|p| format!("{:.1},{:.1}", x(p.strong_share), y(p.quality)))
            .collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>",
            path.join(" ")
        );
        if let [point] = points.as_slice() {
            let (x, y) = (x(point.strong_share), y(point.quality));
            let _ = writeln!(
                out,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>"
            );
        }
        let row = HEIGHT - MARGIN - 12.0 - 16.0 * (curves.len() - 1 - at) as f64;
        let left = WIDTH - MARGIN - 150.0;
        let _ = writeln!(
            out,
            "<line x1=\"{left}\" x2=\"{}\" y1=\"{row}\" y2=\"{row}\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/><text x=\"{}\" y=\"{}\">{}</text>",
            left + 28.0,
            left + 34.0,
            row + 4.0,
            escaped(name)
        );
    }
    out.push_str("</svg>\n");
    out
}

fn span(ends: Pair, curves: &[(&str, Vec<Point>)]) -> (f64, f64) {
    let points = curves.iter().flat_map(|(_, c)| c.iter().map(|p| p.quality));
    let (low, high) = points.fold(
        (ends.weak.min(ends.strong), ends.weak.max(ends.strong)),
        |(l, h), q| (l.min(q), h.max(q)),
    );
    let room = ((high - low) * 0.06).max(1e-3);
    (low - room, high + room)
}

fn axes(
    out: &mut String,
    named: &Named<'_>,
    widest: f64,
    (low, high): (f64, f64),
    (x, y): (&dyn Fn(f64) -> f64, &dyn Fn(f64) -> f64),
) {
    for tick in 0..=5 {
        let share = f64::from(tick) / 5.0;
        let quality = low + (high - low) * share;
        let share = share * widest;
        let _ = writeln!(
            out,
            "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{1:.1}\" y2=\"{2:.1}\" stroke=\"#e9ecef\"/><text x=\"{0:.1}\" y=\"{3:.1}\" text-anchor=\"middle\">{4:.0} %</text>",
            x(share),
            y(low),
            y(high),
            y(low) + 18.0,
            share * 100.0
        );
        let _ = writeln!(
            out,
            "<line x1=\"{0:.1}\" x2=\"{1:.1}\" y1=\"{2:.1}\" y2=\"{2:.1}\" stroke=\"#e9ecef\"/><text x=\"{3:.1}\" y=\"{4:.1}\" text-anchor=\"end\">{5:.0} %</text>",
            x(0.0),
            x(1.0),
            y(quality),
            x(0.0) - 6.0,
            y(quality) + 4.0,
            quality * 100.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text><text x=\"14\" y=\"{:.1}\" transform=\"rotate(-90 14 {:.1})\" text-anchor=\"middle\">mean score</text>",
        x(widest / 2.0),
        HEIGHT - 14.0,
        named.across,
        HEIGHT / 2.0,
        HEIGHT / 2.0
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_a_line_and_a_name_for_each_router() {
        let point = |strong_share, quality| Point {
            strong_share,
            quality,
        };
        let ends = Pair {
            weak: 0.4,
            strong: 0.8,
        };
        let picture = svg(
            "a < b",
            ends,
            &[
                ("gain", vec![point(0.0, 0.4), point(1.0, 0.8)]),
                ("R&D", vec![point(0.0, 0.4)]),
            ],
        );
        assert_eq!(picture.matches("<polyline").count(), 2);
        assert!(
            picture.contains("a &lt; b") && picture.contains("R&amp;D") && !picture.contains("NaN")
        );
    }

    #[test]
    fn a_chart_of_costs_reaches_to_the_dearest_point() {
        let dear = Point {
            strong_share: 1.5,
            quality: 0.8,
        };
        let ends = Pair {
            weak: 0.4,
            strong: 0.8,
        };
        let picture = svg_of_costs("t", ends, &[("best", vec![dear])]);
        assert!(
            picture.contains(">150 %<") && picture.contains("<circle cx=\"584.0\""),
            "{picture}"
        );
    }
}
