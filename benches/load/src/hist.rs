//! Durations in nanoseconds, counted with an error under 0.1 %.

use hdrhistogram::Histogram;

use crate::error::{Error, Result};
use crate::json::Json;

/// The longest duration that is told apart: an hour. What is longer counts as an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;
/// Significant digits of what is counted.
const DIGITS: u8 = 3;

/// Counts of durations in nanoseconds.
pub(crate) struct Hist(Histogram<u64>);

impl Hist {
    pub(crate) fn new() -> Result<Self> {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS);
        histogram
            .map(Self)
            .map_err(|error| Error::new(format!("histogram: {error}")))
    }

    #[inline]
    pub(crate) fn add(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds);
    }

    /// How many durations were counted.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value that a share `q` of all values does not exceed.
    pub(crate) fn quantile(&self, q: f64) -> u64 {
        self.0.value_at_quantile(q)
    }

    /// The longest one.
    pub(crate) fn max(&self) -> u64 {
        self.0.max()
    }

    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    /// Writes quantiles, mean and maximum in microseconds under keys that start with `prefix`.
    pub(crate) fn json(&self, j: &mut Json, prefix: &str) {
        let quantiles = [
            ("p50", 0.5),
            ("p90", 0.9),
            ("p99", 0.99),
            ("p999", 0.999),
            ("p9999", 0.9999),
        ];
        for (name, q) in quantiles {
            j.f(&format!("{prefix}{name}_us"), self.quantile(q) as f64 / 1e3);
        }
        j.f(&format!("{prefix}mean_us"), self.0.mean() / 1e3);
        j.f(&format!("{prefix}max_us"), self.max() as f64 / 1e3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_are_counted() {
        let mut h = Hist::new().unwrap();
        h.add(0);
        h.add(u64::MAX);
        assert_eq!((h.quantile(0.1), h.count()), (0, 2));
        h.clear();
        assert_eq!((h.quantile(0.5), h.count()), (0, 0));
    }
}
