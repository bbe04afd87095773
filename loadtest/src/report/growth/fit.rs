//! A straight line through points, and how far they are from it.

use serde::{Deserialize, Serialize};

/// `base + each * x`, so that deviations in parts of what was measured are as small as they can be together (least squares,
/// weighted by 1/y²): a point among the small ones counts as much as one among the large ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fit {
    /// At nothing.
    pub base: f64,
    /// What each adds.
    pub each: f64,
    /// The largest deviation of a point from the line, as a share of what was measured there.
    pub deviation_max: f64,
}

impl Fit {
    /// Through these points, all of which are above 0 and at least two.
    pub fn of(points: &[(f64, f64)]) -> Self {
        let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|&(x, y)| of(x, y) / (y * y)).sum::<f64>();
        let (ones, xs, ys) = (sum(&|_, _| 1.0), sum(&|x, _| x), sum(&|_, y| y));
        let (squares, products) = (sum(&|x, _| x * x), sum(&|x, y| x * y));
        let each = (ones * products - xs * ys) / (ones * squares - xs * xs);
        let line = Self { base: (ys - each * xs) / ones, each, deviation_max: 0.0 };
        let deviation = points.iter().map(|&(x, y)| (line.at(x) - y).abs() / y).fold(0.0, f64::max);
        Self { deviation_max: deviation, ..line }
    }

    /// Where the line is.
    pub fn at(&self, x: f64) -> f64 {
        self.base + self.each * x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_on_a_line_are_no_deviation_from_it() {
        let fit = Fit::of(&[(150.0, 307.0), (1_500.0, 3_007.0), (15_000.0, 30_007.0)]);
        assert!((fit.base - 7.0).abs() < 1e-6 && (fit.each - 2.0).abs() < 1e-9, "{fit:?}");
        assert!(fit.deviation_max < 1e-9);
    }

    #[test]
    fn what_grows_faster_than_a_line_deviates_and_so_does_what_grows_slower() {
        let squares: Vec<(f64, f64)> = [1.0, 10.0, 100.0].iter().map(|&x| (x, x * x)).collect();
        let roots: Vec<(f64, f64)> = [1.0, 100.0, 10_000.0].iter().map(|&x: &f64| (x, x.sqrt())).collect();
        assert!(Fit::of(&squares).deviation_max > 0.3 && Fit::of(&roots).deviation_max > 0.3);
    }

    #[test]
    fn a_point_among_the_small_ones_counts_as_much_as_one_among_the_large_ones() {
        let fit = Fit::of(&[(1.0, 2.0), (10.0, 10.0), (100.0, 100.0), (1_000.0, 1_000.0)]);
        assert!(fit.base > 0.3, "{fit:?}");
    }
}
