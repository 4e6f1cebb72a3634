//! Exact money: pico-dollars (1e-12 USD) in an `i128`, and nothing else.
//!
//! Never a float. Bounds round up, postings are exact; every price in the catalogue is a whole
//! number of pico-dollars a token, so products and sums need no rounding at all.
#![deny(clippy::float_arithmetic)]

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

/// Pico-dollars in one dollar.
pub const PICO_PER_USD: i128 = 1_000_000_000_000;
/// The same where 64 bits are enough.
const PICO_64: u64 = 1_000_000_000_000;
/// Digits behind the point of a pico-dollar.
const DECIMALS: usize = 12;

/// An amount of money in pico-dollars (1e-12 USD). May be negative (a loss against the baseline).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PicoUsd(pub i128);

impl PicoUsd {
    /// No money.
    pub const ZERO: PicoUsd = PicoUsd(0);

    /// `count` times this amount; saturates, so that an absurd count is an absurd price and never a small one.
    #[must_use]
    pub fn times(self, count: u64) -> PicoUsd {
        PicoUsd(self.0.saturating_mul(i128::from(count)))
    }

    /// So many thousandths of this amount, rounded up.
    #[must_use]
    pub fn thousandths(self, count: u64) -> PicoUsd {
        let product = self.times(count).0;
        PicoUsd(product.div_euclid(1_000) + i128::from(product.rem_euclid(1_000) > 0))
    }

    /// The amount as SQLite's INTEGER. `None` past ±9.2 million dollars.
    #[must_use]
    pub fn to_i64(self) -> Option<i64> {
        i64::try_from(self.0).ok()
    }

    /// Reads a decimal number of dollars ("12", "0.25", "1e-7", "2.5E-06") exactly from its text.
    ///
    /// # Errors
    /// Says what is wrong: not a number, or finer than a pico-dollar.
    pub fn from_usd_text(text: &str) -> Result<PicoUsd, String> {
        let bad = || format!("\"{text}\" is not an amount of dollars like 12 or 0.25");
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((m, e)) => (m, e.parse::<i32>().map_err(|_| bad())?),
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty())
            || !whole
                .bytes()
                .chain(fraction.bytes())
                .all(|b| b.is_ascii_digit())
            || whole.len() + fraction.len() > 34
        {
            return Err(bad());
        }
        let number: i128 = format!("{whole}{fraction}").parse().map_err(|_| bad())?;
        let fraction_digits = i32::try_from(fraction.len()).map_err(|_| bad())?;
        let shift = exponent
            .checked_add(12)
            .and_then(|s| s.checked_sub(fraction_digits))
            .ok_or_else(bad)?;
        let power = 10_i128.checked_pow(shift.unsigned_abs());
        let pico = match (shift >= 0, power) {
            _ if number == 0 => 0,
            (true, Some(p)) => number.checked_mul(p).ok_or_else(bad)?,
            (false, Some(p)) if number % p == 0 => number / p,
            (false, _) => {
                return Err(format!(
                    "\"{text}\" dollars is finer than a pico-dollar (1e-12)"
                ));
            }
            (true, None) => return Err(bad()),
        };
        Ok(PicoUsd(if negative { -pico } else { pico }))
    }

    /// Plain decimal dollars without a sign or trailing zeros: `0.000042`, `12`, `-3.5`. For headers and JSON.
    #[must_use]
    pub fn usd_text(self) -> String {
        let (abs, unit) = (self.0.unsigned_abs(), PICO_PER_USD.unsigned_abs());
        // Nearly every amount is below 18 million dollars, and 64 bits are divided by hardware.
        let (whole, mut fraction) = match u64::try_from(abs) {
            Ok(abs) => (u128::from(abs / PICO_64), abs % PICO_64),
            Err(_) => (abs / unit, u64::try_from(abs % unit).unwrap_or(0)),
        };
        let mut digits = [b'0'; DECIMALS];
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789"[usize::try_from(fraction % 10).unwrap_or(0)];
            fraction /= 10;
        }
        let kept = digits.iter().rposition(|digit| *digit != b'0');
        let digits = &digits[..kept.map_or(0, |last| last + 1)];
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        let mut text = String::with_capacity(DECIMALS + 8);
        if self.0 < 0 {
            text.push('-');
        }
        match u64::try_from(whole) {
            Ok(0) => text.push('0'),
            _ => text.push_str(&whole.to_string()),
        }
        if !digits.is_empty() {
            text.push('.');
            text.push_str(digits);
        }
        text
    }
}

/// `$0.0123`: at least two decimals, otherwise as many as the amount has.
impl fmt::Display for PicoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.usd_text();
        let (sign, plain) = match text.strip_prefix('-') {
            Some(rest) => ("-", rest.to_owned()),
            None => ("", text),
        };
        let padded = match plain.split_once('.') {
            Some((_, f)) if f.len() >= 2 => plain,
            Some(_) => plain + "0",
            None => plain + ".00",
        };
        f.pad(&format!("{sign}${padded}"))
    }
}

impl Add for PicoUsd {
    type Output = PicoUsd;
    fn add(self, other: PicoUsd) -> PicoUsd {
        PicoUsd(self.0.saturating_add(other.0))
    }
}
impl AddAssign for PicoUsd {
    fn add_assign(&mut self, other: PicoUsd) {
        *self = *self + other;
    }
}
impl Sub for PicoUsd {
    type Output = PicoUsd;
    fn sub(self, other: PicoUsd) -> PicoUsd {
        PicoUsd(self.0.saturating_sub(other.0))
    }
}
impl Sum for PicoUsd {
    fn sum<I: Iterator<Item = PicoUsd>>(amounts: I) -> PicoUsd {
        amounts.fold(PicoUsd::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_exactly_from_text() {
        for (text, pico) in [
            ("12", 12 * PICO_PER_USD),
            ("0.25", PICO_PER_USD / 4),
            ("2.5e-08", 25_000),
            ("4E-06", 4_000_000),
            ("1e-12", 1),
            ("0", 0),
            ("0e-30", 0),
            ("-1.5", -3 * PICO_PER_USD / 2),
            (".5", PICO_PER_USD / 2),
        ] {
            assert_eq!(PicoUsd::from_usd_text(text), Ok(PicoUsd(pico)), "{text}");
        }
        for text in [
            "", "-", "1e-13", "one", "1.2.3", "1e999", "NaN", "9e38", " 1",
        ] {
            assert!(PicoUsd::from_usd_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dollars_are_written_without_loss() {
        for (pico, plain, shown) in [
            (0, "0", "$0.00"),
            (1, "0.000000000001", "$0.000000000001"),
            (PICO_PER_USD * 3 / 2, "1.5", "$1.50"),
            (-PICO_PER_USD, "-1", "-$1.00"),
        ] {
            assert_eq!(PicoUsd(pico).usd_text(), plain);
            assert_eq!(PicoUsd(pico).to_string(), shown);
            assert_eq!(PicoUsd::from_usd_text(plain), Ok(PicoUsd(pico)));
        }
    }
}
