//! Log-linear histogram (as in HdrHistogram): 256 buckets per octave, error under 0.4 %.

use crate::json::Json;

const SUB: u32 = 8;

/// Counts of durations in nanoseconds.
pub(crate) struct Hist {
    buckets: Vec<u64>,
    pub(crate) count: u64,
    pub(crate) max: u64,
    sum: u128,
}

impl Hist {
    pub(crate) fn new() -> Self {
        Self {
            buckets: vec![0; ((64 - SUB as usize) + 1) << SUB],
            count: 0,
            max: 0,
            sum: 0,
        }
    }

    #[inline]
    fn index(value: u64) -> usize {
        if value < (1 << SUB) {
            return value as usize;
        }
        let shift = 63 - value.leading_zeros() - SUB;
        (((shift + 1) as usize) << SUB) + ((value >> shift) as usize - (1 << SUB))
    }

    /// The middle of a bucket.
    fn value(index: usize) -> u64 {
        if index < (1 << SUB) {
            return index as u64;
        }
        let shift = (index >> SUB) as u32 - 1;
        let mantissa = (index & ((1 << SUB) - 1)) as u64 + (1 << SUB);
        (mantissa << shift) + (1u64 << shift) / 2
    }

    #[inline]
    pub(crate) fn add(&mut self, value: u64) {
        self.buckets[Self::index(value)] += 1;
        self.count += 1;
        self.sum += u128::from(value);
        self.max = self.max.max(value);
    }

    /// The value that a share `q` of all values does not exceed.
    pub(crate) fn quantile(&self, q: f64) -> u64 {
        let rank = ((self.count as f64) * q).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return Self::value(index).min(self.max);
            }
        }
        self.max
    }

    fn mean(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.sum as f64 / self.count as f64
        }
    }

    pub(crate) fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
        self.max = 0;
        self.sum = 0;
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
        j.f(&format!("{prefix}mean_us"), self.mean() / 1e3);
        j.f(&format!("{prefix}max_us"), self.max as f64 / 1e3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_half_a_percent() {
        let mut h = Hist::new();
        for v in 1..=100_000u64 {
            h.add(v * 10);
        }
        for q in [0.01, 0.5, 0.9, 0.999] {
            let want = 1_000_000.0 * q;
            let got = h.quantile(q) as f64;
            assert!(
                (got - want).abs() / want < 0.005,
                "{q}: {got} is not {want}"
            );
        }
        assert_eq!(h.quantile(1.0), 1_000_000);
    }

    #[test]
    fn extremes_have_a_bucket() {
        let mut h = Hist::new();
        h.add(0);
        h.add(u64::MAX);
        assert_eq!((h.quantile(0.1), h.count), (0, 2));
        h.clear();
        assert_eq!(h.quantile(0.5), 0);
    }
}
