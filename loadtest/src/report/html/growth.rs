//! How costs grow, as one page: a plot of each curve with its straight line, and the figures behind it.

use super::STYLE;
use super::axis::Axis;
use super::plot::{Line, Plot};
use super::words::{digits, escaped, short};
use crate::report::growth::{Curve, Growth};

/// Points at which the line is drawn: on logarithmic axes it is no straight one.
const LINE_POINTS: u32 = 64;

/// The page.
pub fn page(growth: &Growth) -> String {
    let curves: String = growth.curves.iter().map(plot).collect();
    let tables: String = growth.curves.iter().map(table).collect();
    let notes: String = growth.notes.iter().map(|note| format!("<p class=said>{}</p>\n", escaped(note))).collect();
    let [command, commit, machine] =
        [growth.command.clone(), growth.commit.clone(), growth.machine.to_string()].map(|text| escaped(&text));
    format!(
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\
         <meta name=color-scheme content=\"light dark\">\
         <meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>How costs grow</title><style>{STYLE}</style></head><body>\n\
         <header><p class=over>panda-loadtest &middot; {}</p><h1>How costs grow</h1></header>\n\
         <main>{notes}<div class=plots>{curves}</div>\n{tables}\
         <section><h2>How it was made</h2><p>{command}</p><p>commit {commit}</p><p>{machine}</p></section></main></body></html>\n",
        escaped(&growth.started),
    )
}

fn plot(curve: &Curve) -> String {
    let places = curve.places();
    let (first, last) = (places.first().map_or(1.0, |(x, _)| *x), places.last().map_or(2.0, |(x, _)| *x));
    let step = (last / first).powf(1.0 / f64::from(LINE_POINTS));
    let along = (0..=LINE_POINTS).map(|number| first * step.powf(f64::from(number)));
    let line = Line {
        name: format!("straight line, at most {} % away", digits(curve.fit.deviation_max * 100.0)),
        points: along.map(|x| (x, Some(curve.fit.at(x)).filter(|y| *y > 0.0))).collect(),
    };
    let measured = Line { name: "measured".into(), points: places.iter().map(|&(x, y)| (x, Some(y))).collect() };
    let figures = || places.iter().map(|(_, y)| *y).chain(line.points.iter().filter_map(|(_, y)| *y));
    let (lowest, highest) = (figures().fold(f64::INFINITY, f64::min), figures().fold(0.0, f64::max));
    // What does not grow is drawn over at least two powers of ten, so that it looks like what it is.
    let (lowest, highest) = (lowest.min(highest / 100.0).max(highest / 1e9), highest);
    let column = |pair: &[(f64, f64)]| {
        let ((from, _), (to, y)) = (pair[0], pair[1]);
        let words =
            format!("{} {}\n{} {}\n{} by the line", short(to), curve.x, digits(y), curve.y, digits(curve.fit.at(to)));
        (from, to, words)
    };
    Plot {
        title: &curve.title,
        x: Axis::of_powers(first, last, short),
        x_title: &format!("{} (log)", curve.x),
        y: Axis::of_powers(lowest, highest, short),
        y_title: &format!("{} (log)", curve.y),
        columns: places.windows(2).map(column).collect(),
        lines: vec![measured, line],
        filled: false,
        spans: &[],
    }
    .html()
}

fn table(curve: &Curve) -> String {
    let (wide, high) = curve.factors();
    let row = |point: &crate::report::growth::Point| {
        let (y, runs) = (point.y(), point.runs.iter().map(|run| digits(*run)).collect::<Vec<_>>().join(", "));
        let line = curve.fit.at(point.x);
        let away = format!("{} %", digits((line - y).abs() / y * 100.0));
        let cells = [short(point.x), digits(y), digits(line), away, runs];
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = curve.points.iter().map(row).collect();
    let head: String = [curve.x.as_str(), curve.y.as_str(), "by the line", "deviation", "runs"]
        .iter()
        .map(|cell| format!("<th>{}</th>", escaped(cell)))
        .collect();
    let said = format!(
        "{} Over {} times the {}, {} times as much; the line is {} + {} each.",
        curve.about,
        short(wide),
        curve.x,
        digits(high),
        digits(curve.fit.base),
        digits(curve.fit.each)
    );
    format!(
        "<section><h2>{}</h2><p>{}</p><div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>\n",
        escaped(&curve.title),
        escaped(&said)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::growth::{Fit, Point};

    #[test]
    fn a_page_shows_each_curve_with_its_line_and_is_whole_in_itself() {
        let point = |x: f64, y: f64| Point { x, runs: vec![y] };
        let points = vec![point(100.0, 5.0), point(1_000.0, 5.1), point(10_000.0, 4.9)];
        let mut curve = Curve { title: "a <b>".into(), x: "chats".into(), y: "µs".into(), points, ..Curve::default() };
        curve.fit = Fit::of(&curve.places());
        let html = page(&Growth { curves: vec![curve], notes: vec!["1 < 2".into()], ..Growth::default() });
        assert!(html.contains("a &lt;b&gt;") && html.contains("1 &lt; 2") && !html.contains("<b>"), "{html}");
        assert_eq!(html.matches("<figure>").count(), 1);
        assert!(!html.contains("NaN") && !html.contains("http://") && !html.contains("https://"));
    }
}
