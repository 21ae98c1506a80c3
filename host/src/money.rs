//! Exact money: nano-dollars in a `u64`, never a float.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const NANOS_PER_USD: u64 = 1_000_000_000;
/// People read amounts in millionths of a dollar.
pub const NANOS_PER_MICRO: u64 = 1_000;

/// An amount in billionths of a US dollar. Holds up to about 18.4 billion dollars. Arithmetic saturates, so an absurd price
/// makes a request unaffordable instead of free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsd(u64);

impl NanoUsd {
    pub const ZERO: Self = Self(0);
    pub const MAX: Self = Self(u64::MAX);

    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    pub const fn saturating_mul(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }

    /// How much more this is than `other`.
    pub const fn minus(self, other: Self) -> NanoUsdDifference {
        NanoUsdDifference(self.0 as i128 - other.0 as i128)
    }

    /// All nine decimals, for programs that sum amounts. [`Display`](fmt::Display) rounds for people.
    pub fn exact(self) -> String {
        format!("{}.{:09}", self.0 / NANOS_PER_USD, self.0 % NANOS_PER_USD)
    }
}

impl std::iter::Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::saturating_add)
    }
}

/// Six decimals, rounded up: the displayed amount is never less than the amount spent.
impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.div_ceil(NANOS_PER_MICRO);
        write!(f, "{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

/// A difference between two amounts, or a sum of such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NanoUsdDifference(i128);

impl NanoUsdDifference {
    pub const ZERO: Self = Self(0);

    pub const fn as_nanos(self) -> i128 {
        self.0
    }

    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::iter::Sum for NanoUsdDifference {
    fn sum<I: Iterator<Item = Self>>(differences: I) -> Self {
        differences.fold(Self::ZERO, Self::saturating_add)
    }
}

/// Six decimals, rounded down: a saving is never displayed as more than was saved.
impl fmt::Display for NanoUsdDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.div_euclid(NANOS_PER_MICRO.into());
        let sign = if micros < 0 { "-" } else { "" };
        let micros = micros.unsigned_abs();
        write!(f, "{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

/// Serialises as a string with six decimals, like `Display`.
impl Serialize for NanoUsdDifference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a text isn't an amount of money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoneyError {
    #[error("`{0}` is not a decimal amount such as 1.50")]
    NotDecimal(String),
    #[error("`{0}` has more than nine decimals")]
    TooPrecise(String),
    #[error("`{0}` is too large")]
    TooLarge(String),
}

/// Exact decimals only: no sign, no exponent, at most nine decimals. `_` can group digits, as in TOML.
impl FromStr for NanoUsd {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let not_decimal = || MoneyError::NotDecimal(text.to_owned());
        let digits = text.replace('_', "");
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(not_decimal()),
            Some((whole, fraction)) => (whole, fraction),
            None => (digits.as_str(), ""),
        };
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return Err(not_decimal());
        }
        if fraction.len() > 9 {
            return Err(MoneyError::TooPrecise(text.to_owned()));
        }
        let too_large = || MoneyError::TooLarge(text.to_owned());
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        let fraction: u64 = format!("{fraction:0<9}").parse().map_err(|_| not_decimal())?;
        whole
            .checked_mul(NANOS_PER_USD)
            .and_then(|nanos| nanos.checked_add(fraction))
            .map(Self)
            .ok_or_else(too_large)
    }
}

/// Serialises as a string with six decimals, like `Display`.
impl Serialize for NanoUsd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NanoUsd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_rounded_down() {
        let nanos = NanoUsd::from_nanos;
        for (a, b, shown) in [
            (1_999, 0, "0.000001"),
            (999, 0, "0.000000"),
            (7, 7, "0.000000"),
            (0, 1, "-0.000001"),
            (0, 1_500_000_000, "-1.500000"),
            (0, 1_500_000_001, "-1.500001"),
            (u64::MAX, 0, "18446744073.709551"),
        ] {
            assert_eq!(nanos(a).minus(nanos(b)).to_string(), shown, "{a} {b}");
        }
        let sum: NanoUsdDifference = [nanos(5).minus(nanos(7)), nanos(9).minus(nanos(1))].into_iter().sum();
        assert_eq!(sum.as_nanos(), 6);
    }

    #[test]
    fn amounts_are_exact() {
        for (text, nanos) in [
            ("0", 0),
            ("1", 1_000_000_000),
            ("0.1", 100_000_000),
            ("1.50", 1_500_000_000),
            ("0.000000001", 1),
            ("1_000.25", 1_000_250_000_000),
        ] {
            assert_eq!(text.parse(), Ok(NanoUsd::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn malformed_amounts_are_refused() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            "nan",
            "inf",
            "1,5",
            "0x10",
            "0.0000000001",
            "99999999999999",
        ] {
            assert!(text.parse::<NanoUsd>().is_err(), "{text}");
        }
    }

    #[test]
    fn displayed_amounts_round_up() {
        assert_eq!(NanoUsd::from_nanos(2_880_000).to_string(), "0.002880");
        assert_eq!(NanoUsd::from_nanos(1).to_string(), "0.000001");
        assert_eq!(NanoUsd::MAX.to_string(), "18446744073.709552");
    }

    #[test]
    fn exact_amounts_are_not_rounded() {
        assert_eq!(NanoUsd::from_nanos(1).exact(), "0.000000001");
        assert_eq!(NanoUsd::MAX.exact().parse(), Ok(NanoUsd::MAX));
    }
}
