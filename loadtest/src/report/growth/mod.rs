//! How a cost grows: what was measured at points that lie far apart, the straight line through them, and how far the points
//! are from it. `ops/figures growth` measures; this fits, prints and draws.

mod fit;

use std::fmt;

pub use fit::Fit;
use serde::{Deserialize, Serialize};

use super::model::Machine;

/// The version of the form.
pub const VERSION: u32 = 1;
/// Curves of a file, and points of a curve: what is drawn as one page.
const CURVES_MAX: usize = 64;
const POINTS_MAX: usize = 256;

/// Some curves and where they were taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// [`VERSION`].
    pub growth: u32,
    /// The command that measured it.
    pub command: String,
    /// When, as RFC 3339 or a date.
    pub started: String,
    /// What was built.
    pub commit: String,
    /// Where it ran.
    pub machine: Machine,
    /// What a reader must know.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What was measured.
    pub curves: Vec<Curve>,
}

/// A cost over what it may grow with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// In a few words.
    pub title: String,
    /// How it was taken.
    pub about: String,
    /// What is varied, such as `sessions`.
    pub x: String,
    /// What is measured, with its unit, such as `KiB`.
    pub y: String,
    /// Rising in `x`.
    pub points: Vec<Point>,
    /// The straight line through them; made when the file is read.
    #[serde(default)]
    pub fit: Fit,
}

/// Runs at one place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// How many.
    pub x: f64,
    /// What each run measured; the median counts.
    pub runs: Vec<f64>,
}

impl Point {
    /// The median of its runs; of an even number, the higher of the two in the middle.
    pub fn y(&self) -> f64 {
        let mut runs = self.runs.clone();
        runs.sort_by(f64::total_cmp);
        runs.get(runs.len() / 2).copied().unwrap_or_default()
    }
}

/// Why a file has no growth to show.
#[derive(Debug)]
pub enum GrowthError {
    /// It is no such JSON.
    Malformed(serde_json::Error),
    /// It is of a newer form.
    Newer(u32),
    /// Too little or too much, or figures of which nothing can be said.
    Figures(String),
}

impl fmt::Display for GrowthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => {
                write!(f, "these are no points of a growth ({error}); `ops/figures growth` measures them")
            }
            Self::Newer(version) => {
                write!(
                    f,
                    "these points have version {version}, and this panda-loadtest reads {VERSION}; take a newer one"
                )
            }
            Self::Figures(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for GrowthError {}

impl Growth {
    /// Reads points and fits them.
    ///
    /// # Errors
    /// [`GrowthError`].
    pub fn from_json(json: &[u8]) -> Result<Self, GrowthError> {
        let mut growth: Self = serde_json::from_slice(json).map_err(GrowthError::Malformed)?;
        if growth.growth != VERSION {
            return Err(GrowthError::Newer(growth.growth));
        }
        if growth.curves.is_empty() || growth.curves.len() > CURVES_MAX {
            let why = format!("there are {} curves; a page has 1 to {CURVES_MAX}", growth.curves.len());
            return Err(GrowthError::Figures(why));
        }
        for curve in &mut growth.curves {
            curve.check().map_err(|why| GrowthError::Figures(format!("{}: {why}", curve.title)))?;
            curve.fit = Fit::of(&curve.places());
        }
        Ok(growth)
    }
}

impl Curve {
    /// Where and how much.
    pub fn places(&self) -> Vec<(f64, f64)> {
        self.points.iter().map(|point| (point.x, point.y())).collect()
    }

    /// By which factor x grows from the first point to the last, and y.
    pub fn factors(&self) -> (f64, f64) {
        let places = self.places();
        match (places.first(), places.last()) {
            (Some(first), Some(last)) => (last.0 / first.0, last.1 / first.1),
            _ => (1.0, 1.0),
        }
    }

    fn check(&self) -> Result<(), String> {
        if !(2..=POINTS_MAX).contains(&self.points.len()) {
            return Err(format!("it has {} points; a line needs 2 to {POINTS_MAX}", self.points.len()));
        }
        let is_good = |figure: f64| figure.is_finite() && figure > 0.0;
        if !self.points.iter().all(|point| is_good(point.x) && point.runs.iter().all(|&run| run.is_finite())) {
            return Err("a point is no number above 0".into());
        }
        if let Some(point) = self.points.iter().find(|point| !is_good(point.y())) {
            return Err(format!(
                "at {} {} nothing above 0 was measured; take longer runs or more of them",
                point.x, self.x
            ));
        }
        if !self.points.is_sorted_by(|one, next| one.x < next.x) {
            return Err("its points are not in their order, or two are at one place".into());
        }
        Ok(())
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for curve in &self.curves {
            let (wide, high) = curve.factors();
            writeln!(f, "{}", curve.title)?;
            for (x, y) in curve.places() {
                writeln!(f, "  {x:>12.0} {}  {y:>12.3} {}  ({:.3} by the line)", curve.x, curve.y, curve.fit.at(x))?;
            }
            writeln!(
                f,
                "  {wide:.0} times the {}: {high:.2} times as much; the line is {:.4} + {:.6} each; the largest deviation from \
                 it is {:.1} %",
                curve.x,
                curve.fit.base,
                curve.fit.each,
                curve.fit.deviation_max * 100.0
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
