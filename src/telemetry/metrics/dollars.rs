//! A counter of money that is as exact as the books: it adds whole pico-dollars, and only what is shown is a float.

use super::PICO_PER_USD;
use crate::money::PicoUsd;
use prometheus::core::Metric;
use prometheus::proto;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Money that was counted. Shown is the float nearest to the whole sum, which is right to the pico-dollar up to 9,007 dollars and to
/// fifteen digits beyond. At 18.4 million dollars a series begins at 0 again, as after a restart.
#[derive(Clone, Debug, Default)]
pub(super) struct Dollars(Arc<AtomicU64>);

impl Dollars {
    /// Adds this amount; nothing where it is negative, since a counter cannot fall.
    pub(super) fn add(&self, amount: PicoUsd) {
        if amount > PicoUsd::ZERO {
            // What does not fit would be more than this can show at all.
            let pico = u64::try_from(amount.0).unwrap_or(u64::MAX);
            self.0.fetch_add(pico, Ordering::Relaxed);
        }
    }
}

impl Metric for Dollars {
    fn metric(&self) -> proto::Metric {
        let mut counter = proto::Counter::default();
        counter.set_value(self.0.load(Ordering::Relaxed) as f64 / PICO_PER_USD as f64);
        let mut metric = proto::Metric::default();
        metric.set_counter(counter);
        metric
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_small_amounts_are_their_exact_sum() {
        let dollars = Dollars::default();
        for _ in 0..1_000_000 {
            dollars.add(PicoUsd(100_000_001));
        }
        let shown = dollars.metric().get_counter().get_value();
        assert_eq!(shown.to_bits(), 100.000_001_f64.to_bits());
    }

    #[test]
    fn a_negative_amount_adds_nothing() {
        let dollars = Dollars::default();
        dollars.add(PicoUsd(PICO_PER_USD));
        dollars.add(PicoUsd(-PICO_PER_USD));
        assert_eq!(
            dollars.metric().get_counter().get_value().to_bits(),
            1.0_f64.to_bits()
        );
    }
}
