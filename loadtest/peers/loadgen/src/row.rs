//! The figures of one row of the table, as one line of JSON.

use serde_json::{Map, Number, Value};

/// Figures with their names.
#[derive(Debug, Default)]
pub struct Row(Vec<(&'static str, f64)>);

impl Row {
    /// Appends a figure. The name says its unit.
    pub fn push(&mut self, name: &'static str, value: f64) {
        self.0.push((name, value));
    }

    /// Appends several.
    pub fn extend(&mut self, figures: impl IntoIterator<Item = (&'static str, f64)>) {
        self.0.extend(figures);
    }

    /// One line: an object, with three digits behind the point; a figure that is no number is left out.
    pub fn to_json(&self) -> String {
        let rounded = |value: f64| Number::from_f64((value * 1_000.0).round() / 1_000.0);
        let figures = self.0.iter().filter_map(|(name, value)| Some((*name, rounded(*value)?)));
        let object: Map<_, _> = figures.map(|(name, value)| (name.to_owned(), Value::Number(value))).collect();
        Value::Object(object).to_string()
    }
}

/// `part` in per cent of `whole`.
pub fn percent(part: f64, whole: f64) -> f64 {
    100.0 * part / whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line_of_json_without_what_is_no_number() {
        let mut row = Row::default();
        row.push("p50_us", 12.0);
        row.extend([("share_pct", percent(1.0, 3.0)), ("nothing", percent(0.0, 0.0))]);
        assert_eq!(row.to_json(), r#"{"p50_us":12.0,"share_pct":33.333}"#);
    }
}
