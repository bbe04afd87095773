//! A plot as inline SVG: axes with units, a legend, a title to hover over for each column.

use std::fmt::Write as _;

use super::axis::Axis;
use super::words::escaped;

/// The drawing's own units; a browser makes it as wide as there is room. So narrow that its letters can be read on a phone.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 268.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 38.0;
/// Colours that the page has. More lines than these are drawn with them again, in dashes.
const COLOURS: usize = 8;

/// A line.
pub(super) struct Line {
    pub(super) name: String,
    /// Rising in x; where nothing is known, the line is broken.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// What lasted for a while, drawn behind the lines.
pub(super) struct Span {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) title: String,
}

/// A plot.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    pub(super) x: Axis,
    pub(super) x_title: &'a str,
    pub(super) y: Axis,
    pub(super) y_title: &'a str,
    pub(super) lines: Vec<Line>,
    /// Filled down to the axis, each on top of nothing.
    pub(super) filled: bool,
    pub(super) spans: &'a [Span],
    /// What is said where somebody points: from, to, words.
    pub(super) columns: Vec<(f64, f64, String)>,
}

impl Plot<'_> {
    /// The drawing, with its title and legend.
    pub(super) fn html(&self) -> String {
        let mut svg = String::new();
        // Writing to a string cannot fail.
        let written = self.write(&mut svg);
        debug_assert!(written.is_ok());
        svg
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let title = escaped(self.title);
        write!(out, "<figure><figcaption>{title}</figcaption><ul class=legend>")?;
        for (number, line) in self.lines.iter().enumerate() {
            let (colour, dashed) = (number % COLOURS, if number >= COLOURS { " dashed" } else { "" });
            write!(out, "<li><i class=\"k{colour}{dashed}\"></i>{}</li>", escaped(&line.name))?;
        }
        if !self.spans.is_empty() {
            out.push_str("<li><i class=fault></i>fault</li>");
        }
        write!(out, "</ul><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=img aria-label=\"{title}\">")?;
        self.write_spans(out)?;
        self.write_axes(out)?;
        for (number, line) in self.lines.iter().enumerate() {
            self.write_line(out, number, line)?;
        }
        for (from, to, words) in &self.columns {
            let (from, to) = (self.across(*from), self.across(*to));
            let (width, height) = ((to - from).max(0.5), HEIGHT - TOP - BOTTOM);
            let words = escaped(words);
            write!(
                out,
                "<rect class=column x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"><title>{words}</title></rect>"
            )?;
        }
        out.push_str("</svg></figure>\n");
        Ok(())
    }

    fn write_spans(&self, out: &mut String) -> std::fmt::Result {
        for span in self.spans {
            let (from, to) = (self.across(span.from), self.across(span.to));
            let (width, height) = ((to - from).max(1.5), HEIGHT - TOP - BOTTOM);
            let title = escaped(&span.title);
            write!(
                out,
                "<rect class=span x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"><title>{title}</title></rect>"
            )?;
        }
        Ok(())
    }

    fn write_axes(&self, out: &mut String) -> std::fmt::Result {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (at, words) in &self.y.marks {
            let (y, words) = (self.down(*at), escaped(words));
            write!(out, "<path class=grid d=\"M{LEFT} {y:.1}H{right}\"/>")?;
            write!(out, "<text class=end x=\"{:.1}\" y=\"{:.1}\">{words}</text>", LEFT - 6.0, y + 4.0)?;
        }
        for (at, words) in &self.x.marks {
            let (x, words) = (self.across(*at), escaped(words));
            write!(out, "<path class=grid d=\"M{x:.1} {TOP}V{bottom}\"/>")?;
            // What stands at the frame's end would not be whole.
            let (class, x) = if x > right - 20.0 { ("end", right + 8.0) } else { ("mid", x) };
            write!(out, "<text class={class} x=\"{x:.1}\" y=\"{:.1}\">{words}</text>", bottom + 15.0)?;
        }
        write!(out, "<path class=axis d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>")?;
        write!(out, "<text class=unit x=\"4\" y=\"14\">{}</text>", escaped(self.y_title))?;
        write!(out, "<text class=\"unit end\" x=\"{right}\" y=\"{:.1}\">{}</text>", HEIGHT - 5.0, escaped(self.x_title))
    }

    fn write_line(&self, out: &mut String, number: usize, line: &Line) -> std::fmt::Result {
        let (mut path, mut area, mut begun) = (String::new(), String::new(), None);
        let (bottom, mut last) = (HEIGHT - BOTTOM, 0.0);
        for (x, y) in &line.points {
            let Some(y) = y else {
                if begun.take().is_some() {
                    write!(area, "V{bottom}Z")?;
                }
                continue;
            };
            let (across, down) = (self.across(*x), self.down(*y));
            match begun {
                None => {
                    write!(path, "M{across:.1} {down:.1}")?;
                    write!(area, "M{across:.1} {bottom}V{down:.1}")?;
                    // A point between two holes is a dot: a line of no length with round ends.
                    write!(path, "h0")?;
                    begun = Some(across);
                }
                Some(_) => {
                    write!(path, "L{across:.1} {down:.1}")?;
                    write!(area, "L{across:.1} {down:.1}")?;
                }
            }
            last = across;
        }
        if begun.is_some() {
            write!(area, "L{last:.1} {bottom}Z")?;
        }
        if path.is_empty() {
            return Ok(());
        }
        let (colour, dashed) = (number % COLOURS, if number >= COLOURS { " dashed" } else { "" });
        if self.filled {
            write!(out, "<path class=\"area k{colour}\" d=\"{area}\"/>")?;
        }
        write!(out, "<path class=\"line k{colour}{dashed}\" d=\"{path}\"><title>{}</title></path>", escaped(&line.name))
    }

    fn across(&self, x: f64) -> f64 {
        LEFT + self.x.place(x) * (WIDTH - LEFT - RIGHT)
    }

    fn down(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(y) * (HEIGHT - TOP - BOTTOM)
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::{moment, short};
    use super::*;

    #[test]
    fn a_line_is_broken_where_nothing_is_known_and_stays_in_its_frame() {
        let points = vec![(0.0, Some(1.0)), (1.0, None), (2.0, Some(500.0)), (3.0, Some(f64::NAN))];
        let spans = [Span { from: 1.0, to: 1.0, title: "kill <edge>".into() }];
        let plot = Plot {
            title: "a & b",
            x: Axis::of_time(0.0, 3.0, moment),
            x_title: "time",
            y: Axis::from_zero(10.0, short),
            y_title: "/s",
            lines: vec![Line { name: "<script>".into(), points }],
            filled: true,
            spans: &spans,
            columns: vec![(0.0, 1.0, "1 s: \"x\"".into())],
        };
        let html = plot.html();
        let path = html.split("class=\"line k0\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert!(!path.contains("NaN") && path.contains(&format!("{TOP:.1}")), "{path}");
        assert!(
            !html.contains("<script>") && html.contains("a &amp; b") && html.contains("kill &lt;edge&gt;"),
            "{html}"
        );
        assert!(html.contains("<title>1 s: &quot;x&quot;</title>"));
    }
}
