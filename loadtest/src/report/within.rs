//! Within what time so many of a hundred were through.

use std::collections::BTreeMap;
use std::time::Duration;

/// Of times in microseconds and how often each was, the one that `of_a_hundred` of a hundred did not exceed, in seconds; `None`
/// of no times.
pub(super) fn within(times_us: &BTreeMap<u64, u64>, of_a_hundred: u64) -> Option<f64> {
    let wanted = (times_us.values().sum::<u64>() * of_a_hundred).div_ceil(100);
    let mut counted = 0;
    times_us.iter().find_map(|(&us, &count)| {
        counted += count;
        (counted >= wanted).then(|| Duration::from_micros(us).as_secs_f64())
    })
}
