use super::*;
use proptest::prelude::*;

fn price(provider: &str, model: &str) -> Price {
    *Catalogue::embedded()
        .find(provider, model)
        .unwrap_or_else(|| panic!("{provider} {model} is in the catalogue"))
}

fn rates(classes: [i128; 6]) -> Rates {
    let [
        input,
        cached,
        cache_write,
        cache_write_long,
        output,
        reasoning,
    ] = classes.map(|micro_cents| PicoUsd(micro_cents * 10_000));
    Rates {
        input,
        cached,
        cached_audio: cached,
        cache_write,
        cache_write_long,
        output,
        reasoning,
        audio_input: input,
        audio_output: output,
    }
}

#[test]
fn known_models_have_their_published_rates() {
    // Cents per million tokens: input, cached, write, long write, output, reasoning.
    for (provider, model, expected, long) in [
        (
            "openai",
            "gpt-5.6-sol",
            [400, 40, 500, 1_000, 2_000, 2_000],
            Some((272_000, [800, 80, 1_000, 2_000, 3_000, 3_000])),
        ),
        (
            "anthropic",
            "claude-opus-5-5",
            [400, 20, 500, 800, 2_000, 2_000],
            None,
        ),
        (
            "deepseek",
            "deepseek-v4-pro",
            [132, 0, 132, 132, 396, 396],
            None,
        ),
        ("simulated", "sim-small", [10, 1, 10, 10, 40, 40], None),
        (
            "simulated",
            "sim-reasoning",
            [400, 40, 400, 400, 2_000, 2_000],
            None,
        ),
    ] {
        let found = price(provider, model);
        let mut expected = rates(expected);
        if model == "deepseek-v4-pro" {
            expected.cached = PicoUsd(44_000);
            expected.cached_audio = PicoUsd(44_000);
        }
        assert_eq!(found.rates, expected, "{model}");
        let long = long.map(|(above_tokens, classes)| Long {
            above_tokens,
            rates: rates(classes),
        });
        assert_eq!(found.long, long, "{model}");
    }
    let gemini = price("gemini", "gemini-2.5-pro");
    assert_eq!(gemini.rates.input, PicoUsd(1_250_000));
    assert_eq!(gemini.input_tokens_max, Some(1_048_576));
    let long = gemini.long.expect("it has long rates");
    assert_eq!(long.above_tokens, 200_000);
    assert_eq!(long.rates.input, PicoUsd(2_500_000));
    assert_eq!(long.rates.cached, PicoUsd(250_000));
    assert_eq!(long.rates.output, PicoUsd(15_000_000));
    let flash = price("gemini", "gemini-2.5-flash");
    assert_eq!(flash.rates.audio_input, PicoUsd(1_000_000));
    let priority = flash.tiers.priority.expect("it has such rates");
    assert_eq!(priority.rates.audio_input, PicoUsd(1_800_000));
}

#[test]
fn each_service_tier_has_its_published_rates() {
    // Cents per million tokens: input, cached, write, long write, output, reasoning; of an ordinary request and of a long one.
    let sol = price("openai", "gpt-5.6-sol");
    for (tier, ordinary, long) in [
        (
            ServiceTier::Standard,
            [400, 40, 500, 1_000, 2_000, 2_000],
            [800, 80, 1_000, 2_000, 3_000, 3_000],
        ),
        (
            ServiceTier::Flex,
            [200, 20, 250, 500, 1_000, 1_000],
            [400, 40, 500, 1_000, 1_500, 1_500],
        ),
        (
            ServiceTier::Batch,
            [200, 20, 250, 500, 1_000, 1_000],
            [400, 40, 500, 1_000, 1_500, 1_500],
        ),
        (
            ServiceTier::Priority,
            [800, 80, 1_000, 2_000, 4_000, 4_000],
            [1_600, 160, 2_000, 4_000, 6_000, 6_000],
        ),
    ] {
        let served = sol.served(tier, 0).expect("it has a price");
        assert_eq!(served.rates, rates(ordinary), "{tier:?}");
        assert_eq!(served.long.map(|l| l.rates), Some(rates(long)), "{tier:?}");
    }
    assert_eq!(sol.served(ServiceTier::Other, 0), None);
    // An hour's cache write has no batch rate at the source; it is half, as everything is.
    let opus = price("anthropic", "claude-opus-5-5");
    let batch = opus.served(ServiceTier::Batch, 0).expect("a price");
    assert_eq!(batch.rates, rates([200, 10, 250, 400, 1_000, 1_000]));
    assert_eq!(opus.served(ServiceTier::Priority, 0), None);
    // Gemini's batch leaves the cache at its standard rate.
    let gemini = price("gemini", "gemini-2.5-pro");
    let batch = gemini.served(ServiceTier::Batch, 0).expect("a price");
    assert_eq!(batch.rates.cached, gemini.rates.cached);
    assert_eq!(batch.rates.input, PicoUsd(625_000));
    // Mistral says that everything costs half; the source names no batch rates of its models.
    let mistral = price("mistral", "mistral-small-latest");
    let batch = mistral.served(ServiceTier::Batch, 0).expect("a price");
    assert_eq!(batch.rates.input, PicoUsd(75_000));
    assert_eq!(batch.rates.output, PicoUsd(300_000));
    assert_eq!(batch.rates.cached, PicoUsd(7_500));
}

#[test]
fn deepseek_costs_half_outside_its_peak_and_is_bounded_at_the_peak() {
    let pro = price("deepseek", "deepseek-v4-pro");
    // Monday, 2026-11-23, 00:00 UTC.
    let monday = 1_795_392_000;
    for (day, hour, input, cached, output) in [
        (0, 0, 660_000, 22_000, 1_980_000),
        (0, 1, 1_320_000, 44_000, 3_960_000),
        (0, 3, 1_320_000, 44_000, 3_960_000),
        (0, 4, 660_000, 22_000, 1_980_000),
        (4, 6, 1_320_000, 44_000, 3_960_000),
        (4, 9, 1_320_000, 44_000, 3_960_000),
        (4, 10, 660_000, 22_000, 1_980_000),
        (5, 2, 660_000, 22_000, 1_980_000),
        (6, 9, 660_000, 22_000, 1_980_000),
    ] {
        let at = monday + day * 86_400 + hour * 3_600;
        let r = pro
            .served(ServiceTier::Standard, at)
            .expect("a price")
            .rates;
        assert_eq!(
            [r.input, r.cached, r.output],
            [PicoUsd(input), PicoUsd(cached), PicoUsd(output)],
            "day {day}, hour {hour}"
        );
    }
    let bound = pro.dearest_of(&[ServiceTier::Standard]);
    assert_eq!(bound.bound_input(1_000), PicoUsd(1_320_000));
    assert_eq!(bound.bound_per_output_token(1_000), PicoUsd(3_960_000));
}

#[test]
fn a_bound_is_that_of_the_dearest_tier_that_may_serve() {
    use ServiceTier::{Flex, Other, Priority, Standard};
    let sol = price("openai", "gpt-5.6-sol");
    for (tiers, input, output) in [
        (&[Standard][..], 1_000, 2_000),
        (&[Standard, Flex], 1_000, 2_000),
        (&[Standard, Priority], 2_000, 4_000),
        (&[Standard, Other], 1_000, 2_000),
    ] {
        let bound = sol.dearest_of(tiers);
        let cents = |n: i128| PicoUsd(n * 10_000);
        assert_eq!(bound.bound_input(1_000), cents(input), "{tiers:?}");
        assert_eq!(bound.bound_per_output_token(1_000), cents(output));
        assert_eq!(bound.bound_input(300_000), cents(input * 2), "{tiers:?}");
    }
}

#[test]
fn a_price_that_is_borrowed_is_the_one_that_would_be_made() {
    use ServiceTier::{Batch, Flex, Other, Priority, Standard};
    let said = [None, Some(false), Some(true)];
    for (_, model, price) in Catalogue::embedded().iter().step_by(5) {
        for tier in [Standard, Batch, Flex, Priority, Other] {
            for (us_only, fast, unknown) in said.iter().flat_map(|us_only| {
                let both = said.iter().map(|fast| (*us_only, *fast));
                both.flat_map(|(us_only, fast)| [(us_only, fast, false), (us_only, fast, true)])
            }) {
                let manner = Manner {
                    us_only,
                    fast,
                    unknown,
                };
                for at in [0, 43_200] {
                    let made = price.served(tier, at).and_then(|p| p.made(manner));
                    let borrowed = price.served_so(tier, at, manner).map(Cow::into_owned);
                    assert_eq!(borrowed, made, "{model} {tier:?} {manner:?}");
                }
                let made = price.made(manner).unwrap_or(*price);
                let dearest = price.dearest_so(&[Standard, tier], manner);
                assert_eq!(*dearest, made.dearest_of(&[Standard, tier]), "{model}");
                // The standard tier adds nothing to the price itself.
                let (alone, standard) = (made.dearest_of(&[]), made.served(Standard, 0));
                let standard = standard.unwrap_or_default();
                assert_eq!(alone.rates.dearer(&standard.rates), alone.rates, "{model}");
                let same = (standard.media_input, standard.long);
                assert_eq!((alone.media_input, alone.long), same, "{model}");
            }
        }
    }
}

#[test]
fn sound_has_its_own_rates_and_is_a_part_of_input_and_output() {
    let voice = price("openai", "gpt-audio");
    let usage = |audio_input, audio_output| Usage {
        input: 100,
        output: 50,
        audio_input,
        audio_output,
        ..Usage::default()
    };
    let (text_in, text_out, sound_in, sound_out) = (2_500_000, 10_000_000, 32_000_000, 64_000_000);
    for (audio_in, audio_out) in [(0, 0), (30, 0), (0, 20), (100, 50)] {
        let pico = (100 - audio_in) * text_in
            + audio_in * sound_in
            + (50 - audio_out) * text_out
            + audio_out * sound_out;
        let told = usage(
            u64::try_from(audio_in).expect("small"),
            u64::try_from(audio_out).expect("small"),
        );
        assert_eq!(voice.cost(&told), PicoUsd(pico), "{audio_in} {audio_out}");
    }
    // A part is never more than its whole.
    assert_eq!(
        voice.cost(&usage(1_000, 1_000)),
        voice.cost(&usage(100, 50))
    );
    assert_eq!(voice.bound_input(10), PicoUsd(text_in));
    assert_eq!(voice.bound_media_input(10), PicoUsd(sound_in));
}

#[test]
fn sound_that_was_cached_has_its_own_rate_where_there_is_one() {
    let gemini = price("gemini", "gemini-2.5-flash");
    let usage = |audio_input, cached_audio| Usage {
        input: 100_000,
        cached: 100_000,
        audio_input,
        cached_audio,
        ..Usage::default()
    };
    // Text $0.30, sound $1.00, cached text $0.03, cached sound $0.10 a million (https://ai.google.dev/gemini-api/docs/pricing).
    for (audio_input, cached_audio, micro_usd) in [
        (0, 0, 33_000),
        (100_000, 0, 103_000),
        (0, 100_000, 40_000),
        (0, u64::MAX, 40_000),
    ] {
        let cost = gemini.cost(&usage(audio_input, cached_audio));
        assert_eq!(
            cost,
            PicoUsd(micro_usd * 1_000_000),
            "{audio_input} {cached_audio}"
        );
    }
    let priority = gemini.served(ServiceTier::Priority, 0).expect("a price");
    assert_eq!(priority.rates.cached_audio, PicoUsd(180_000));
}

#[test]
fn models_that_tell_where_they_ran_have_a_multiple_and_older_ones_have_none() {
    let us = Manner {
        us_only: Some(true),
        ..Manner::default()
    };
    let fast = Manner {
        fast: Some(true),
        ..Manner::default()
    };
    for (model, us_only, at_speed) in [
        ("claude-opus-4-6", Some(1_100), None),
        ("claude-opus-4-8", Some(1_100), Some(2_000)),
        ("claude-opus-5-5", Some(1_100), Some(2_000)),
        ("claude-haiku-4-5", None, None),
    ] {
        let price = price("anthropic", model);
        let input = price.rates.input;
        for (manner, multiple) in [(us, us_only), (fast, at_speed)] {
            let made = price.made(manner).map(|made| made.rates.input);
            assert_eq!(made, multiple.map(|n| input.thousandths(n)), "{model}");
        }
        let both = price.made(us.or(fast)).map(|made| made.rates.output);
        let product = us_only.zip(at_speed);
        assert_eq!(
            both,
            product.map(|(a, b)| price.rates.output.thousandths(a).thousandths(b)),
            "{model}"
        );
        let most = price.dearest_manner(Manner::default());
        assert_eq!(most.us_only, us_only.map(|_| true), "{model}");
    }
    assert_eq!(
        PicoUsd(1_001).thousandths(1_100),
        PicoUsd(1_102),
        "rounded up"
    );
}

#[test]
fn an_unknown_model_has_no_price_and_no_known_one_is_free() {
    let catalogue = Catalogue::embedded();
    for (provider, model) in [
        ("openai", "gpt-9"),
        ("openai", ""),
        ("ollama", "llama3"),
        ("nobody", "gpt-5.4"),
        ("openai", "claude-opus-5-5"),
    ] {
        assert_eq!(catalogue.find(provider, model), None, "{provider} {model}");
    }
    for (provider, model, price) in catalogue.iter() {
        assert!(price.rates.input > PicoUsd::ZERO, "{provider} {model}");
        assert!(
            price.rates.output > PicoUsd::ZERO || model.contains("embed"),
            "{provider} {model}"
        );
    }
    assert!(catalogue.iter().count() > 250);
}

#[test]
fn a_dated_name_has_the_price_of_its_own_row_or_none() {
    let catalogue = Catalogue::embedded();
    let base = catalogue.find("openai", "gpt-5.4");
    assert!(base.is_some());
    assert_eq!(catalogue.find("openai", "gpt-5.4-2026-03-05"), base);
    for model in ["gpt-5.4-2031-01-31", "gpt-5.4-20310131", "gpt-5.4-turbo"] {
        assert_eq!(catalogue.find("openai", model), None, "{model}");
    }
    // This dated model is dearer than its undated name.
    let dated = price("openai", "gpt-4o-2024-05-13");
    assert!(dated.rates.input > price("openai", "gpt-4o").rates.input);
}

#[test]
fn only_a_date_at_the_end_of_a_name_is_one() {
    for (model, undated) in [
        ("gpt-5.4-2031-01-31", Some("gpt-5.4")),
        ("gpt-5.4-20310131", Some("gpt-5.4")),
        ("gpt-5.4-2031-1-31", None),
        ("gpt-5.4-203101", None),
        ("gpt-5.4-turbo", None),
        ("gpt-5.4-19990131", None),
        ("gpt-5.42031-01-31", None),
        ("-20310131", None),
    ] {
        assert_eq!(without_date(model), undated, "{model}");
    }
}

#[test]
fn cost_is_the_sum_of_its_classes_and_reasoning_is_inside_output() {
    let price = Price {
        rates: rates([1, 2, 3, 4, 5, 7]),
        ..Price::free()
    };
    let usage = Usage {
        input: 10,
        cached: 20,
        cache_write: 30,
        cache_write_long: 40,
        output: 50,
        reasoning: 8,
        ..Usage::default()
    };
    let units = 10 + 40 + 90 + 160 + 42 * 5 + 8 * 7;
    assert_eq!(price.cost(&usage), PicoUsd(units * 10_000));
    // A provider may claim more reasoning than output; nothing is billed twice.
    let absurd = Usage {
        output: 5,
        reasoning: 9,
        ..Usage::default()
    };
    assert_eq!(price.cost(&absurd), PicoUsd(35 * 10_000));
    assert_eq!(Price::free().cost(&usage), PicoUsd::ZERO);
}

#[test]
fn a_long_request_is_priced_as_a_whole_at_the_long_rates() {
    let gemini = price("gemini", "gemini-2.5-pro");
    let at = |input, cached| {
        gemini.cost(&Usage {
            input,
            cached,
            output: 1_000,
            ..Usage::default()
        })
    };
    assert_eq!(
        at(200_000, 0),
        PicoUsd(200_000 * 1_250_000 + 1_000 * 10_000_000)
    );
    assert_eq!(
        at(200_000, 1),
        PicoUsd(200_000 * 2_500_000 + 250_000 + 1_000 * 15_000_000)
    );
}

#[test]
fn a_bound_covers_both_sides_of_the_long_threshold() {
    let price = Price {
        rates: rates([1, 2, 3, 9, 5, 7]),
        long: Some(Long {
            above_tokens: 100,
            rates: rates([4, 4, 4, 4, 6, 6]),
        }),
        ..Price::free()
    };
    for (input_tokens_max, input, output) in [(100, 9, 7), (101, 9, 7)] {
        assert_eq!(price.bound_input(input_tokens_max), PicoUsd(input * 10_000));
        let bound = price.bound_per_output_token(input_tokens_max);
        assert_eq!(bound, PicoUsd(output * 10_000));
    }
    let dearer = Price {
        rates: rates([1, 1, 1, 1, 1, 1]),
        ..price
    };
    assert_eq!(dearer.bound_input(100), PicoUsd(10_000));
    assert_eq!(dearer.bound_input(101), PicoUsd(40_000));
}

#[test]
fn own_prices_stand_beside_the_vendors_and_change_the_version() {
    let base = Catalogue::embedded();
    let own = |dollars: i128| {
        let price = Price {
            rates: Rates::plain(PicoUsd(dollars), PicoUsd(dollars)),
            ..Price::free()
        };
        base.with_own([("openai".to_owned(), "gpt-5.4".to_owned(), price)])
    };
    assert_eq!(&base.with_own([]), base);
    let (one, two) = (own(1), own(2));
    assert!(one.version.starts_with(&format!("{}+", base.version)));
    assert_ne!(one.version, two.version);
    assert_eq!(one.version, own(1).version);
    let (provider, model, found) = one.own().next().expect("just put there");
    assert_eq!((provider, model), ("openai", "gpt-5.4"));
    assert_eq!(found.rates.cache_write_long, PicoUsd(1));
    // What the operator pays at one provider is not what another of its kind charges.
    assert_eq!(
        one.find("openai", "gpt-5.4"),
        base.find("openai", "gpt-5.4")
    );
}

#[test]
fn a_broken_catalogue_is_refused_with_its_reason() {
    let good = |row: &str| {
        format!(
            "{{\"version\":\"v\",\"source\":\"s\",\"unit\":\"pico-USD a token\",\"models\":[{row}]}}"
        )
    };
    let row = r#"{"provider":"p","model":"m","rates":{"input":1,"output":2}}"#;
    assert!(Catalogue::read(&good(row)).is_ok());
    for (text, why) in [
        ("{".to_owned(), "EOF"),
        (good(&format!("{row},{row}")), "twice"),
        (good(&row.replace(":1", ":-1")), "-1"),
        (good(&row.replace(":1", ":0.5")), "0.5"),
        (good(&row.replace("output", "outputs")), "outputs"),
        (good(row).replace("pico", "micro"), "micro"),
    ] {
        let error = Catalogue::read(&text).expect_err(why);
        assert!(error.contains(why), "{error}");
    }
}

proptest! {
    #[test]
    fn no_usage_costs_more_than_its_bound(
        index in 0_usize..10_000,
        classes in proptest::array::uniform4(0_u64..400_000),
        output in 0_u64..200_000,
        reasoning in 0_u64..250_000,
        slack in 0_u64..300_000,
    ) {
        let all: Vec<_> = Catalogue::embedded().iter().collect();
        let (_, model, price) = all[index % all.len()];
        let [input, cached, cache_write, cache_write_long] = classes;
        let usage = Usage { input, cached, cache_write, cache_write_long, output, reasoning, ..Usage::default() };
        let most = usage.input_total() + slack;
        let bound = price.bound_input(most).times(usage.input_total())
            + price.bound_per_output_token(most).times(output);
        prop_assert!(price.cost(&usage) <= bound, "{}: {:?}", model, usage);
    }
}

/// A sum of products in digits of 32 bits, by hand: no integer type of the language does the carrying.
#[derive(Default)]
struct Big([u64; 8]);

impl Big {
    fn add_product(&mut self, a: u64, b: u64) {
        let digits = |n: u64| [n & 0xffff_ffff, n >> 32];
        for (i, x) in digits(a).into_iter().enumerate() {
            for (j, y) in digits(b).into_iter().enumerate() {
                let product = x * y;
                self.add(i + j, product & 0xffff_ffff);
                self.add(i + j + 1, product >> 32);
            }
        }
    }

    fn add(&mut self, mut place: usize, mut digit: u64) {
        while digit > 0 {
            let sum = self.0[place] + digit;
            self.0[place] = sum & 0xffff_ffff;
            (place, digit) = (place + 1, sum >> 32);
        }
    }

    fn is(&self, amount: PicoUsd) -> bool {
        let mut rest = u128::try_from(amount.0).expect("not negative");
        let same = self.0.iter().all(|digit| {
            let here = rest & 0xffff_ffff;
            rest >>= 32;
            u128::from(*digit) == here
        });
        same && rest == 0
    }
}

#[test]
fn a_cost_is_what_big_integers_say() {
    // 10^6 cases, 10^7 with FLYBALL_MONEY: half a minute.
    let cases = if std::env::var_os("FLYBALL_MONEY").is_some() {
        10_000_000
    } else {
        1_000_000
    };
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |bits: u32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> (64 - bits)
    };
    for case in 0..cases {
        let rate = |n: u64| PicoUsd(i128::from(n));
        let mut rates = || {
            let bits = 1 + u32::try_from(case % 40).expect("small");
            [
                next(bits),
                next(bits),
                next(bits),
                next(bits),
                next(bits),
                next(bits),
                next(bits),
                next(bits),
            ]
        };
        let (short, long) = (rates(), rates());
        let of = |r: [u64; 8]| Rates {
            input: rate(r[0]),
            cached: rate(r[1]),
            cached_audio: rate(r[1]),
            cache_write: rate(r[2]),
            cache_write_long: rate(r[3]),
            output: rate(r[4]),
            reasoning: rate(r[5]),
            audio_input: rate(r[6]),
            audio_output: rate(r[7]),
        };
        let bits = 1 + u32::try_from(case % 44).expect("small");
        let output = next(bits);
        let usage = Usage {
            input: next(bits),
            cached: next(bits),
            cache_write: next(bits),
            cache_write_long: next(bits),
            output,
            reasoning: next(bits),
            audio_input: next(bits),
            audio_output: next(bits),
            ..Usage::default()
        };
        let above = next(bits);
        let price = Price {
            rates: of(short),
            long: Some(Long {
                above_tokens: above,
                rates: of(long),
            }),
            ..Price::default()
        };
        let total = u128::from(usage.input)
            + u128::from(usage.cached)
            + u128::from(usage.cache_write)
            + u128::from(usage.cache_write_long);
        let r = if total > u128::from(above) {
            long
        } else {
            short
        };
        let hidden = usage.reasoning.min(output);
        let heard = usage.audio_input.min(usage.input);
        let said = usage.audio_output.min(output - hidden);
        let mut big = Big::default();
        for (rate, count) in r.into_iter().zip([
            usage.input - heard,
            usage.cached,
            usage.cache_write,
            usage.cache_write_long,
            output - hidden - said,
            hidden,
            heard,
            said,
        ]) {
            big.add_product(rate, count);
        }
        assert!(big.is(price.cost(&usage)), "{price:?} {usage:?}");
    }
}
