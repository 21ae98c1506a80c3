//! Exact amounts of money, and limits that can be `unlimited`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::problem::ValueProblem;
use super::redact::quote;
use crate::money::{MoneyError, NanoUsd};

/// Values in these formats arrive as their source text, even numbers, because a float would not be exact.
pub(super) const FORMAT: &str = "cofferdam-usd";
pub(super) const LIMIT_FORMAT: &str = "cofferdam-usd-limit";

const UNLIMITED: &str = "unlimited";

/// An amount in US dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usd(pub(super) NanoUsd);

/// A limit in US dollars. `None`: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UsdLimit(pub(super) Option<NanoUsd>);

impl FromStr for Usd {
    type Err = ValueProblem;

    fn from_str(text: &str) -> Result<Self, ValueProblem> {
        text.parse().map(Self).map_err(|error| match error {
            MoneyError::NotDecimal(_) => ValueProblem::new(format!("{} is not an amount in US dollars", quote(text)))
                .hint("use a decimal without sign and exponent, such as 1.50"),
            MoneyError::TooPrecise(_) => ValueProblem::new(format!("{} has more than nine decimals", quote(text))),
            MoneyError::TooLarge(_) => {
                ValueProblem::new(format!("{} is larger than Cofferdam can represent", quote(text)))
            }
        })
    }
}

impl FromStr for UsdLimit {
    type Err = ValueProblem;

    fn from_str(text: &str) -> Result<Self, ValueProblem> {
        if text == UNLIMITED {
            return Ok(Self(None));
        }
        match text.parse::<Usd>() {
            Ok(Usd(amount)) => {
                let limit = Self(Some(amount));
                limit.problem().map_or(Ok(limit), Err)
            }
            Err(problem) => Err(problem.hint("use a decimal such as 1.50, or \"unlimited\" for no limit")),
        }
    }
}

impl UsdLimit {
    /// The problem with a limit of zero.
    pub(super) fn problem(self) -> Option<ValueProblem> {
        let hint = "set an amount, or \"unlimited\" for no limit";
        let zero = || ValueProblem::new("a limit of zero would refuse every request").hint(hint);
        (self.0 == Some(NanoUsd::ZERO)).then(zero)
    }
}

/// All significant decimals, and at least two. Unlike amounts in a report, this text must parse to the same amount.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DECIMALS_BELOW_CENTS: usize = 7;
        let exact = self.0.exact();
        let (cents, rest) = exact.split_at(exact.len() - DECIMALS_BELOW_CENTS);
        write!(f, "{cents}{}", rest.trim_end_matches('0'))
    }
}

impl fmt::Display for UsdLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(amount) => Usd(amount).fmt(f),
            None => f.write_str(UNLIMITED),
        }
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for UsdLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for UsdLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Usd {
    fn schema_name() -> Cow<'static, str> {
        "Usd".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An exact amount in US dollars: a decimal with up to nine places, as a number or as a text.",
            "type": ["number", "string"],
            "minimum": 0,
            "format": FORMAT,
            "examples": [1.5, "0.000000001"],
        })
    }
}

impl JsonSchema for UsdLimit {
    fn schema_name() -> Cow<'static, str> {
        "UsdLimit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An exact limit in US dollars, above zero: a decimal with up to nine places, as a number or as a text; or \"unlimited\".",
            "type": ["number", "string"],
            "exclusiveMinimum": 0,
            "format": LIMIT_FORMAT,
            "examples": [1.5, "0.000000001", UNLIMITED],
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn amounts_round_trip() {
        for (text, shown) in [
            ("1", "1.00"),
            ("0.1", "0.10"),
            ("0.123456789", "0.123456789"),
            ("10.500", "10.50"),
        ] {
            let amount: Usd = text.parse().unwrap();
            assert_eq!(amount.to_string(), shown);
            assert_eq!(shown.parse(), Ok(amount));
        }
    }

    #[test]
    fn a_limit_can_be_unlimited_but_not_zero() {
        assert_eq!("unlimited".parse(), Ok(UsdLimit(None)));
        assert_eq!("0.5".parse(), Ok(UsdLimit(Some(NanoUsd::from_nanos(500_000_000)))));
        for text in ["0", "0.0", "-1", "none", ""] {
            let problem = text.parse::<UsdLimit>().unwrap_err();
            assert!(problem.hint.unwrap().contains("unlimited"), "{text}");
        }
    }

    #[test]
    fn invalid_amounts_give_a_reason() {
        for (text, why) in [
            ("1e3", "not an amount"),
            ("0.0000000001", "more than nine decimals"),
            ("99999999999999", "larger than Cofferdam can represent"),
        ] {
            assert!(text.parse::<Usd>().unwrap_err().message.contains(why), "{text}");
        }
    }
}
