//! What an attempt is charged. Pure: usage and price in, money out.

use crate::chat::{Manner, ServiceTier, Usage};
use crate::ledger::record::{Basis, Compared};
use crate::money::PicoUsd;
use crate::price::Price;
use std::borrow::Cow;
use std::time::Duration;

/// A provider's own figure may be rounded: what differs by less than a millionth of a dollar, or by less than a thousandth of the cost,
/// is the same.
const ROUNDING: PicoUsd = PicoUsd(1_000_000);

/// What is known of an attempt besides its usage.
pub(crate) struct ChargeTerms<'a> {
    /// The model's price.
    pub(crate) price: Option<&'a Price>,
    /// The service tier that the request named.
    pub(crate) asked: Option<ServiceTier>,
    /// The one that the answer's head names.
    pub(crate) told: Option<ServiceTier>,
    /// The manner that the request named.
    pub(crate) manner: Manner,
    /// A cap counts it.
    pub(crate) capped: bool,
    /// What is reserved.
    pub(crate) bound: PicoUsd,
    /// When the request was admitted, seconds since 1970.
    pub(crate) at: i64,
    /// At most so many of its input tokens are pictures or film.
    pub(crate) media_tokens_max: u64,
    /// How long the provider has worked.
    pub(crate) took: Duration,
}

/// What is charged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Charged {
    pub(crate) cost: PicoUsd,
    pub(crate) basis: Basis,
    /// The part of `cost` that is above what the usage costs.
    pub(crate) excess: PicoUsd,
    /// What hidden reasoning costs of it.
    pub(crate) reasoning: PicoUsd,
    /// The service tier whose rates hold.
    pub(crate) tier: ServiceTier,
    /// The manner in which it was made, as far as anybody said.
    pub(crate) manner: Manner,
    /// The rates of that tier, or what multiplies them in that manner, are not known; the plain ones of the standard tier were taken.
    pub(crate) unpriced: bool,
    /// The provider's own figure beside the computed cost.
    pub(crate) compared: Option<Compared>,
    /// What the provider's prompt cache took off, less what writing to it has cost beyond reading.
    pub(crate) cache_discount: PicoUsd,
}

impl ChargeTerms<'_> {
    pub(crate) fn charge(&self, usage: &Usage, basis: Basis) -> Charged {
        let manner = self.made(usage, basis);
        let (tier, price) = self.served(usage, manner);
        let unpriced = self.price.is_some() && price.is_none();
        let price = price.or_else(|| self.price.map(Cow::Borrowed));
        let price = price.as_deref();
        let computed = price.map_or(PicoUsd::ZERO, |p| {
            p.cost(usage) + p.media_surcharge(usage, self.media_tokens_max) + p.time_cost(self.took)
        });
        // Numbers that contradict each other, or have no price, prove nothing.
        let unproven = basis == Basis::Reported && self.capped && (usage.anomaly || unpriced);
        let (cost, basis) = match basis {
            // What contradicts itself proves no bill above the bound either.
            Basis::Bound | Basis::Reported if self.capped && usage.anomaly => {
                (self.bound, Basis::Bound)
            }
            Basis::Bound => (self.bound.max(computed), basis),
            _ if unproven => (self.bound.max(computed), Basis::Bound),
            Basis::Reported if self.capped => {
                let reported = usage.reported_cost.unwrap_or_default();
                (computed.max(reported), basis)
            }
            // What was counted in another tokenizer than the model's own is no more than what was reserved as the most.
            Basis::Counted if self.capped && self.bound > PicoUsd::ZERO => {
                (computed.min(self.bound), basis)
            }
            Basis::Reported | Basis::Counted | Basis::Void => (computed, basis),
        };
        let excess = match basis {
            Basis::Bound => (cost - computed).max(PicoUsd::ZERO),
            _ => PicoUsd::ZERO,
        };
        let reported = usage.reported_cost.filter(|_| basis == Basis::Reported);
        Charged {
            cost,
            basis,
            excess,
            reasoning: price.map_or(PicoUsd::ZERO, |price| of_reasoning(price, usage)),
            tier,
            manner,
            unpriced,
            compared: reported.map(|reported| compared(reported, computed)),
            cache_discount: price.map_or(PicoUsd::ZERO, |p| cache_discount(p, usage)),
        }
    }

    /// In which manner the answer was made: what it does not say is what was asked for. Under a cap an answer that did not come to its
    /// last word may have been made in the dearest manner that the request allows.
    fn made(&self, usage: &Usage, basis: Basis) -> Manner {
        let said = usage.manner.or(self.manner);
        match self.price {
            Some(price) if self.capped && basis != Basis::Reported => price.dearest_manner(said),
            _ => said,
        }
    }

    /// The tier in which the answer was made, and the price there. What an answer does not say is what was asked for, where that is
    /// dearer than the standard tier.
    fn served(&self, usage: &Usage, manner: Manner) -> (ServiceTier, Option<Cow<'_, Price>>) {
        let of = |tier| self.price?.served_so(tier, self.at, manner);
        if let Some(told) = usage.tier.or(self.told) {
            return (told, of(told));
        }
        let standard = of(ServiceTier::Standard);
        let cost = |price: &Option<Cow<'_, Price>>| price.as_ref().map(|p| p.cost(usage));
        let asked = self.asked.map(|tier| (tier, of(tier)));
        let dearer = asked.filter(|(_, price)| cost(price) > cost(&standard));
        dearer.unwrap_or((ServiceTier::Standard, standard))
    }
}

/// What the same input would have cost without a cache, less what it did cost.
fn cache_discount(price: &Price, usage: &Usage) -> PicoUsd {
    if usage.cached + usage.cache_write + usage.cache_write_long == 0 {
        return PicoUsd::ZERO;
    }
    let without = Usage {
        input: usage.input_total(),
        cached: 0,
        cache_write: 0,
        cache_write_long: 0,
        ..*usage
    };
    price.cost(&without) - price.cost(usage)
}

/// What this usage costs more than the same without its hidden reasoning.
fn of_reasoning(price: &Price, usage: &Usage) -> PicoUsd {
    if usage.reasoning == 0 {
        return PicoUsd::ZERO;
    }
    let visible = Usage {
        output: usage.output.saturating_sub(usage.reasoning),
        reasoning: 0,
        ..*usage
    };
    price.cost(usage) - price.cost(&visible)
}

fn compared(reported: PicoUsd, computed: PicoUsd) -> Compared {
    let far = PicoUsd(computed.0 / 1_000).max(ROUNDING);
    match reported {
        r if r - computed > far => Compared::Above,
        r if computed - r > far => Compared::Below,
        _ => Compared::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::{Multiples, Rates, TierRates, Tiers};

    const STANDARD: i128 = 100;
    const FLEX: i128 = 50;
    const PRIORITY: i128 = 200;
    const BOUND: i128 = 1_000_000_000;

    fn price() -> Price {
        let rates = |pico: i128| Rates::plain(PicoUsd(pico), PicoUsd(pico));
        let tier = |pico| {
            Some(TierRates {
                rates: rates(pico),
                long: None,
            })
        };
        Price {
            rates: rates(STANDARD),
            tiers: Tiers {
                flex: tier(FLEX),
                priority: tier(PRIORITY),
                batch: None,
            },
            ..Price::default()
        }
    }

    fn terms(price: &Price, capped: bool) -> ChargeTerms<'_> {
        ChargeTerms {
            price: Some(price),
            asked: None,
            told: None,
            manner: Manner::default(),
            capped,
            bound: PicoUsd(BOUND),
            at: 0,
            media_tokens_max: 0,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn an_answer_is_priced_by_the_tier_that_it_names() {
        use ServiceTier::{Batch, Flex, Priority, Standard};
        let price = price();
        for (asked, head, body, capped, tier, pico, basis) in [
            (None, None, None, true, Standard, STANDARD, Basis::Reported),
            (
                None,
                None,
                Some(Priority),
                true,
                Priority,
                PRIORITY,
                Basis::Reported,
            ),
            (None, Some(Flex), None, true, Flex, FLEX, Basis::Reported),
            (
                Some(Priority),
                None,
                Some(Standard),
                true,
                Standard,
                STANDARD,
                Basis::Reported,
            ),
            // Not told: the dearer of what was asked for and the standard tier.
            (
                Some(Priority),
                None,
                None,
                true,
                Priority,
                PRIORITY,
                Basis::Reported,
            ),
            (
                Some(Flex),
                None,
                None,
                true,
                Standard,
                STANDARD,
                Basis::Reported,
            ),
            (
                Some(Batch),
                None,
                None,
                true,
                Standard,
                STANDARD,
                Basis::Reported,
            ),
            // A tier without a price proves nothing under a cap, and costs about the standard rates without one.
            (
                None,
                None,
                Some(Batch),
                true,
                Batch,
                BOUND / 1_000,
                Basis::Bound,
            ),
            (
                None,
                None,
                Some(Batch),
                false,
                Batch,
                STANDARD,
                Basis::Reported,
            ),
        ] {
            let usage = Usage {
                input: 600,
                output: 400,
                tier: body,
                ..Usage::default()
            };
            let terms = ChargeTerms {
                asked,
                told: head,
                ..terms(&price, capped)
            };
            let got = terms.charge(&usage, Basis::Reported);
            let said = format!("{asked:?} {head:?} {body:?} {capped}");
            assert_eq!(
                (got.tier, got.cost, got.basis),
                (tier, PicoUsd(pico * 1_000), basis),
                "{said}"
            );
            assert_eq!(got.unpriced, tier == Batch, "{said}");
        }
    }

    #[test]
    fn a_providers_own_figure_is_compared_and_under_a_cap_the_larger_is_charged() {
        let price = price();
        let computed = STANDARD * 1_000_000;
        for (reported, compared, capped_cost) in [
            (computed, Compared::Equal, computed),
            (computed + 1_000_000, Compared::Equal, computed + 1_000_000),
            (computed + 1_000_001, Compared::Above, computed + 1_000_001),
            (computed - 1_000_000, Compared::Equal, computed),
            (computed - 1_000_001, Compared::Below, computed),
            (0, Compared::Below, computed),
        ] {
            let usage = Usage {
                input: 1_000_000,
                reported_cost: Some(PicoUsd(reported)),
                ..Usage::default()
            };
            for (capped, cost) in [(true, capped_cost), (false, computed)] {
                let got = terms(&price, capped).charge(&usage, Basis::Reported);
                assert_eq!(
                    (got.compared, got.cost, got.basis),
                    (Some(compared), PicoUsd(cost), Basis::Reported),
                    "{reported} {capped}"
                );
            }
        }
        // A thousandth of a large bill is rounding too.
        let far = |reported| super::compared(PicoUsd(reported), PicoUsd(10_000_000_000));
        assert_eq!(
            (far(10_010_000_000), far(10_010_000_001)),
            (Compared::Equal, Compared::Above)
        );
    }

    #[test]
    fn where_and_how_fast_an_answer_was_made_multiplies_its_rates() {
        let price = Price {
            multiples: Multiples {
                us_only: Some(1_100),
                fast: Some(2_000),
            },
            ..price()
        };
        let usage = |us_only, fast| Usage {
            input: 1_000,
            manner: Manner {
                us_only,
                fast,
                unknown: false,
            },
            ..Usage::default()
        };
        let plain = 1_000 * STANDARD;
        // what the answer says, basis, capped, cost
        for (us_only, fast, basis, capped, cost) in [
            (None, None, Basis::Reported, true, plain),
            (Some(false), Some(false), Basis::Reported, true, plain),
            (Some(true), None, Basis::Reported, true, plain * 11 / 10),
            (Some(true), None, Basis::Reported, false, plain * 11 / 10),
            (None, Some(true), Basis::Reported, true, plain * 2),
            (
                Some(true),
                Some(true),
                Basis::Reported,
                true,
                plain * 22 / 10,
            ),
            // An answer that broke off may still have been made in the United States.
            (None, None, Basis::Counted, true, plain * 11 / 10),
            (Some(false), None, Basis::Counted, true, plain),
            (None, None, Basis::Counted, false, plain),
        ] {
            let got = terms(&price, capped).charge(&usage(us_only, fast), basis);
            let said = format!("{us_only:?} {fast:?} {basis:?} {capped}");
            assert_eq!((got.cost, got.basis), (PicoUsd(cost), basis), "{said}");
            assert!(!got.unpriced, "{said}");
        }
        // Where the multiple is not known, under a cap the bound, else the plain rates and a count of it.
        let bare = super::tests::price();
        for (capped, cost, basis) in [(true, BOUND, Basis::Bound), (false, plain, Basis::Reported)]
        {
            let got = terms(&bare, capped).charge(&usage(Some(true), None), Basis::Reported);
            assert_eq!(
                (got.cost, got.basis, got.unpriced),
                (PicoUsd(cost), basis, true)
            );
        }
        // What the request asks for and the answer says nothing of.
        let asked = ChargeTerms {
            manner: usage(Some(true), None).manner,
            ..terms(&price, true)
        };
        let got = asked.charge(&usage(None, None), Basis::Reported);
        assert_eq!(got.cost, PicoUsd(plain * 11 / 10));
    }

    #[test]
    fn what_may_be_pictures_is_charged_at_their_rate_in_the_tier_of_the_answer() {
        let price = Price {
            media_input: Some(PicoUsd(STANDARD * 3)),
            ..price()
        };
        let told = |tier| Usage {
            input: 600,
            output: 400,
            tier,
            ..Usage::default()
        };
        for (most, tier, pico) in [
            (0, None, 1_000 * STANDARD),
            (50, None, 1_000 * STANDARD + 50 * 2 * STANDARD),
            (u64::MAX, None, 1_000 * STANDARD + 600 * 2 * STANDARD),
            (
                50,
                Some(ServiceTier::Priority),
                2 * (1_000 * STANDARD + 50 * 2 * STANDARD),
            ),
        ] {
            let terms = ChargeTerms {
                media_tokens_max: most,
                ..terms(&price, true)
            };
            let got = terms.charge(&told(tier), Basis::Reported);
            assert_eq!(got.cost, PicoUsd(pico), "{most} {tier:?}");
        }
        let dearest = price.dearest_of(&[ServiceTier::Priority]);
        assert_eq!(dearest.bound_media_input(10), PicoUsd(STANDARD * 6));
    }

    #[test]
    fn what_nobody_knows_is_charged_at_the_bound_or_above() {
        let price = price();
        let usage = |output, anomaly| Usage {
            output,
            anomaly,
            ..Usage::default()
        };
        for (usage, basis, capped, cost, said, excess) in [
            (
                usage(10, false),
                Basis::Bound,
                true,
                BOUND,
                Basis::Bound,
                BOUND - 1_000,
            ),
            (
                usage(10, true),
                Basis::Reported,
                true,
                BOUND,
                Basis::Bound,
                BOUND - 1_000,
            ),
            (
                usage(10, true),
                Basis::Reported,
                false,
                1_000,
                Basis::Reported,
                0,
            ),
            (
                usage(10, false),
                Basis::Counted,
                true,
                1_000,
                Basis::Counted,
                0,
            ),
            (
                usage(20_000_000, false),
                Basis::Bound,
                true,
                2 * BOUND,
                Basis::Bound,
                0,
            ),
        ] {
            let got = terms(&price, capped).charge(&usage, basis);
            assert_eq!(
                (got.cost, got.basis, got.excess),
                (PicoUsd(cost), said, PicoUsd(excess))
            );
        }
    }
}
