//! An axis of a plot: its range, where its marks stand, and what they say.

/// An axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    log: bool,
    /// Where marks stand, and their words.
    pub(super) marks: Vec<(f64, String)>,
}

/// Steps of marks in seconds, of runs of any length.
const TIME_STEPS: [f64; 16] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 43_200.0, 86_400.0,
];
/// Marks that an axis has about.
const MARKS: f64 = 5.0;

impl Axis {
    /// From zero to what holds `highest`, in even steps.
    pub(super) fn from_zero(highest: f64, words: fn(f64) -> String) -> Self {
        let highest = if highest > 0.0 && highest.is_finite() { highest } else { 1.0 };
        let step = even_step(highest / MARKS);
        let steps = (highest / step - 1e-9).ceil().max(1.0);
        Self { low: 0.0, high: steps * step, log: false, marks: marks(0.0, steps * step, step, words) }
    }

    /// The same for bytes, whose even steps are powers of two.
    pub(super) fn of_bytes(highest: f64, words: fn(f64) -> String) -> Self {
        let highest = highest.max(1_024.0);
        let step = (highest / MARKS).log2().ceil().exp2();
        let steps = (highest / step).ceil().max(1.0);
        Self { low: 0.0, high: steps * step, log: false, marks: marks(0.0, steps * step, step, words) }
    }

    /// Of seconds.
    pub(super) fn of_time(from: f64, to: f64, words: fn(f64) -> String) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        let wanted = (to - from) / MARKS;
        let step = TIME_STEPS.into_iter().find(|step| *step >= wanted).unwrap_or_else(|| even_step(wanted));
        let first = (from / step).ceil() * step;
        Self { low: from, high: to, log: false, marks: marks(first, to, step, words) }
    }

    /// By powers of ten around what is between; with 2 and 5 where these are few.
    pub(super) fn of_powers(lowest: f64, highest: f64, words: fn(f64) -> String) -> Self {
        let lowest = if lowest > 0.0 { lowest } else { 1.0 };
        let highest = highest.max(lowest);
        let around = |down: bool| {
            let figure = if down { lowest } else { highest };
            let power = figure.log10().floor();
            let base = 10_f64.powf(power);
            // 1, 2 and 5 of each power: nothing is drawn half a plot away from the frame.
            let of = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * base);
            if down {
                of.into_iter().rev().find(|mark| *mark <= figure * 1.000_001).unwrap_or(base)
            } else {
                of.into_iter().find(|mark| *mark >= figure * 0.999_999).unwrap_or(base * 10.0)
            }
        };
        let (low, mut high) = (around(true), around(false));
        if high <= low {
            high = low * 10.0;
        }
        let decades = (high / low).log10();
        let factors: &[f64] = if decades <= 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let every = (decades / 8.0).ceil().max(1.0);
        let mut marks = Vec::new();
        let mut power = low.log10().floor();
        while 10_f64.powf(power) <= high * 1.000_001 {
            let of = factors.iter().map(|factor| factor * 10_f64.powf(power));
            marks.extend(of.filter(|mark| (low * 0.999_999..=high * 1.000_001).contains(mark)).map(|m| (m, words(m))));
            power += every;
        }
        Self { low, high, log: true, marks }
    }

    /// With these marks, between the first and the last.
    pub(super) fn of_marks(log: bool, marks: Vec<(f64, String)>) -> Self {
        let low = marks.first().map_or(if log { 1.0 } else { 0.0 }, |(at, _)| *at);
        let high = marks.last().map_or(low + 1.0, |(at, _)| *at);
        Self { low, high: if high > low { high } else { low + 1.0 }, log, marks }
    }

    /// Where a figure stands, from 0 to 1; what is beyond the axis, at its end.
    pub(super) fn place(&self, figure: f64) -> f64 {
        let share = if self.log {
            (figure.max(self.low).ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (figure - self.low) / (self.high - self.low)
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below this.
fn even_step(wanted: f64) -> f64 {
    let base = 10_f64.powf(wanted.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * base).find(|step| *step >= wanted).unwrap_or(base * 10.0)
}

fn marks(first: f64, last: f64, step: f64, words: fn(f64) -> String) -> Vec<(f64, String)> {
    // Twice what any step makes of its range; a step that is none makes no endless list.
    let count = ((last - first) / step + 1e-6).floor().clamp(0.0, 4.0 * MARKS);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a few marks")]
    let count = count as u32;
    (0..=count).map(|number| first + f64::from(number) * step).map(|at| (at, words(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::words::{bytes, moment, short, time};
    use super::*;

    fn words(axis: &Axis) -> Vec<&str> {
        axis.marks.iter().map(|(_, words)| words.as_str()).collect()
    }

    #[test]
    fn marks_stand_at_even_figures_and_hold_the_highest() {
        assert_eq!(words(&Axis::from_zero(93.0, short)), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(words(&Axis::from_zero(0.0, short)), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(words(&Axis::of_time(0.0, 61.0, moment)), ["0 s", "15 s", "30 s", "45 s", "60 s"]);
        let memory = Axis::of_bytes(300.0 * 1_048_576.0, bytes);
        assert_eq!(words(&memory), ["0 B", "64 MiB", "128 MiB", "192 MiB", "256 MiB", "320 MiB"]);
        assert_eq!(
            words(&Axis::of_powers(900.0, 40_000.0, time)),
            ["500 µs", "1 ms", "2 ms", "5 ms", "10 ms", "20 ms", "50 ms"]
        );
    }

    #[test]
    fn any_figure_has_a_place_within_the_frame() {
        let axes = [
            Axis::from_zero(f64::NAN, short),
            Axis::of_powers(0.0, 0.0, time),
            Axis::of_time(5.0, 5.0, moment),
            Axis::of_powers(1.0, 3.6e9, time),
        ];
        for axis in axes {
            assert!(!axis.marks.is_empty() && axis.marks.len() <= 21, "{axis:?}");
            for figure in [0.0, -1.0, 1e300, f64::NAN, f64::INFINITY, 5.0] {
                assert!((0.0..=1.0).contains(&axis.place(figure)), "{figure} on {axis:?}");
            }
        }
    }
}
