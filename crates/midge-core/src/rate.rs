//! A token bucket.

use crate::time::Tick;

/// Lets so many things a second pass, with one second's worth of burst. A rate of 0 lets all pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: u32,
    /// Thousandths of a token.
    level: u64,
    at: Tick,
}

impl Bucket {
    pub(crate) fn new(rate: u32, now: Tick) -> Self {
        Self {
            rate,
            level: u64::from(rate) * 1000,
            at: now,
        }
    }

    pub(crate) fn take(&mut self, now: Tick) -> bool {
        if self.rate == 0 {
            return true;
        }
        let rate = u64::from(self.rate);
        self.level = (self.level + self.at.until(now).saturating_mul(rate)).min(rate * 1000);
        self.at = self.at.max(now);
        match self.level.checked_sub(1000) {
            Some(rest) => {
                self.level = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_gives_as_many_as_the_rate() {
        let mut bucket = Bucket::new(2, Tick(0));
        let taken: Vec<_> = [0, 0, 0, 499, 500, 501, 5000, 5000, 5000]
            .map(|at| bucket.take(Tick(at)))
            .into();
        assert_eq!(
            taken,
            [true, true, false, false, true, false, true, true, false]
        );
        assert!((0..100).all(|_| Bucket::new(0, Tick(0)).take(Tick(0))));
    }
}
