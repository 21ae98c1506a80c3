//! Numbers: exact rationals where possible, floating point otherwise, with bounded work.

use std::cmp::Ordering;
use std::fmt;
use std::sync::LazyLock;

use dashu_int::ops::{BitTest, UnsignedAbs};
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use crate::inexact;

/// Maximum decimal digits of a numerator or denominator.
pub const MAX_DIGITS: usize = 10_000;
/// The same limit in bits. Some numbers of this many bits have one digit too many: [`BEYOND`] and larger ones.
const MAX_BITS: usize = 33_220;
/// The smallest number with more than [`MAX_DIGITS`] digits.
static BEYOND: LazyLock<UBig> = LazyLock::new(|| ten_to(MAX_DIGITS));
/// Maximum work per expression, in products of 64-bit words: about 350 operations on numbers of the largest size, or
/// millions on everyday ones. Measured, one product takes at most about 40 units of fuel.
const MAX_WORK: u64 = 100_000_000;
/// Fractions without a finite decimal form are rounded to this many significant digits.
const SIGNIFICANT_DIGITS: usize = 30;
/// Finite decimals are printed in full up to this many decimal places.
pub const MAX_DECIMALS: usize = 1_000;
/// From 2^53 on, every floating-point number is whole.
pub const ALWAYS_WHOLE: f64 = 9_007_199_254_740_992.0;
/// Maximum ratio of an inexact dividend to its divisor, and maximum inexact angle in radians. At least six of the 15
/// digits then determine the remainder.
pub const INEXACT_REACH: f64 = 1e9;

/// An intermediate or final result.
#[derive(Clone, Debug)]
pub enum Number {
    Exact(RBig),
    /// Always finite.
    Approximate(f64),
}

use Number::{Approximate, Exact};

impl Number {
    pub fn integer(value: impl Into<IBig>) -> Self {
        Exact(RBig::from(value.into()))
    }

    /// A floating-point result, unless it is NaN, infinite or too small to have all its digits.
    pub fn approximate(value: f64) -> Result<Self, String> {
        if value.is_nan() {
            Err("the result is not a real number".to_owned())
        } else if value.is_infinite() {
            Err("the result is too large: inexact results reach up to about 1.8e308".to_owned())
        } else if value.is_subnormal() {
            Err(too_small())
        } else {
            Ok(Approximate(value))
        }
    }

    /// A floating-point result that is mathematically never zero.
    pub fn nonzero(value: f64) -> Result<Self, String> {
        if value == 0.0 {
            return Err(too_small());
        }
        Self::approximate(value)
    }

    /// The nearest floating-point number, possibly infinity or zero.
    pub fn nearest(&self) -> f64 {
        match self {
            Exact(value) => value.to_f64().value(),
            Approximate(value) => *value,
        }
    }

    /// The nearest floating-point number, if it is finite.
    pub fn to_f64(&self) -> Result<f64, String> {
        let value = self.nearest();
        if value.is_finite() {
            Ok(value)
        } else {
            Err("a number is too large for an inexact operation, which reaches up to about 1.8e308".to_owned())
        }
    }

    /// The number as a fraction. Every finite floating-point number is one.
    pub fn to_exact(&self) -> Result<RBig, String> {
        match self {
            Exact(value) => Ok(value.clone()),
            Approximate(value) => RBig::try_from(*value).map_err(|_| "the result is not a real number".to_owned()),
        }
    }

    pub fn is_zero(&self) -> bool {
        match self {
            Exact(value) => value.is_zero(),
            Approximate(value) => *value == 0.0,
        }
    }

    pub fn is_negative(&self) -> bool {
        match self {
            Exact(value) => *value < RBig::ZERO,
            Approximate(value) => *value < 0.0,
        }
    }

    pub fn negate(self) -> Self {
        match self {
            Exact(value) => Exact(-value),
            Approximate(value) => Approximate(-value),
        }
    }
}

/// Performs the arithmetic and charges for it.
#[derive(Debug, Default)]
pub struct Meter {
    work: u64,
}

impl Meter {
    pub fn add(&mut self, a: Number, b: Number) -> Result<Number, String> {
        self.operate(a, b, |a, b| a + b, |a, b| Number::approximate(a + b))
    }

    pub fn subtract(&mut self, a: Number, b: Number) -> Result<Number, String> {
        self.operate(a, b, |a, b| a - b, |a, b| Number::approximate(a - b))
    }

    pub fn multiply(&mut self, a: Number, b: Number) -> Result<Number, String> {
        if a.is_zero() || b.is_zero() {
            return Ok(Number::integer(0));
        }
        self.operate(a, b, |a, b| a * b, |a, b| Number::nonzero(a * b))
    }

    pub fn divide(&mut self, a: Number, b: Number) -> Result<Number, String> {
        if b.is_zero() {
            return Err("division by zero: the divisor of `/` is 0".to_owned());
        }
        if a.is_zero() {
            return Ok(a);
        }
        self.operate(a, b, |a, b| a / b, |a, b| Number::nonzero(a / b))
    }

    /// The remainder of `a / b`, with the sign of `b` as in Python.
    pub fn remainder(&mut self, a: Number, b: Number) -> Result<Number, String> {
        if b.is_zero() {
            return Err("division by zero: the divisor of `%` is 0".to_owned());
        }
        let exact = |a: RBig, b: RBig| {
            let whole = RBig::from((&a / &b).floor());
            a - b * whole
        };
        self.operate(a, b, exact, inexact_remainder)
    }

    /// `base` to the power of `exponent`. Exact if the exponent is whole, and if it stands for a root with an exact result.
    pub fn power(&mut self, base: Number, exponent: Number) -> Result<Number, String> {
        if base.is_zero() && exponent.is_negative() {
            return Err("division by zero: 0 has no negative power".to_owned());
        }
        if let (Exact(base), Exact(exponent)) = (&base, &exponent) {
            if exponent.is_int() {
                return self.whole_power(base, exponent.numerator());
            }
            let degree = usize::try_from(exponent.denominator()).ok();
            let degree = degree.filter(|degree| *exponent.numerator() == IBig::ONE && *degree <= inexact::MAX_DEGREE);
            if let (Some(degree), false) = (degree, *base < RBig::ZERO) {
                return inexact::root(&Exact(base.clone()), degree, self);
            }
        }
        if base.is_negative() && !exponent.to_exact()?.is_int() {
            return Err("a negative number has no real power with a fractional exponent".to_owned());
        }
        if base.is_zero() && !exponent.is_zero() {
            return Ok(base);
        }
        Number::nonzero(base.to_f64()?.powf(exponent.to_f64()?))
    }

    fn whole_power(&mut self, base: &RBig, exponent: &IBig) -> Result<Number, String> {
        if *base == RBig::ONE || (base.is_zero() && !exponent.is_zero()) {
            return Ok(Exact(base.clone()));
        }
        if *base == -RBig::ONE {
            let odd = exponent.bit(0);
            return Ok(Exact(if odd { base.clone() } else { RBig::ONE }));
        }
        // A lower bound of the result's length, so that a tower of powers is refused before it is computed.
        let shortest = isize::try_from(exponent).ok().and_then(|exponent| {
            Some((
                exponent,
                bits(base).saturating_sub(1).checked_mul(exponent.unsigned_abs())?,
            ))
        });
        match shortest {
            Some((exponent, bits)) if bits <= MAX_BITS => {
                self.charge(bits, bits)?;
                checked(base.pow(exponent))
            }
            _ => Err(too_long()),
        }
    }

    fn operate(
        &mut self,
        a: Number,
        b: Number,
        exact: impl FnOnce(RBig, RBig) -> RBig,
        approximate: impl FnOnce(f64, f64) -> Result<Number, String>,
    ) -> Result<Number, String> {
        match (a, b) {
            (Exact(a), Exact(b)) => {
                let (mut shorter, longer) = (bits(&a).min(bits(&b)), bits(&a).max(bits(&b)));
                if !(a.is_int() && b.is_int()) {
                    // Fractions are reduced after each step, at a cost quadratic in the longer part.
                    shorter = longer;
                }
                self.charge(shorter, longer)?;
                checked(exact(a, b))
            }
            (a, b) => approximate(a.to_f64()?, b.to_f64()?),
        }
    }

    /// Charges for one operation whose cost grows with the product of the two lengths in bits, plus copying.
    pub fn charge(&mut self, a: usize, b: usize) -> Result<(), String> {
        let words = |bits: usize| (bits / 64 + 1) as u64;
        let (a, b) = (words(a), words(b));
        self.work = self.work.saturating_add(a * b + 20 * (a + b));
        if self.work > MAX_WORK {
            Err("this takes too much computing: use smaller numbers or fewer operations".to_owned())
        } else {
            Ok(())
        }
    }
}

/// The length of the longer part of a fraction.
pub fn bits(value: &RBig) -> usize {
    value.numerator().bit_len().max(value.denominator().bit_len())
}

/// The number, if it doesn't have too many digits.
pub fn checked(value: RBig) -> Result<Number, String> {
    let fits = match bits(&value).cmp(&MAX_BITS) {
        Ordering::Less => true,
        Ordering::Equal => value.numerator().clone().unsigned_abs() < *BEYOND && *value.denominator() < *BEYOND,
        Ordering::Greater => false,
    };
    if fits { Ok(Exact(value)) } else { Err(too_long()) }
}

/// The operation is exact, but the numbers aren't: a remainder within their last digit counts as zero.
fn inexact_remainder(a: f64, b: f64) -> Result<Number, String> {
    if (a / b).abs() > INEXACT_REACH {
        return Err(format!(
            "the remainder is not known: the numbers of `%` are inexact, and the dividend is more than {INEXACT_REACH:e} \
             times the divisor"
        ));
    }
    let rest = a % b;
    let off = rest.abs().min(b.abs() - rest.abs());
    if off < a.abs() * f64::EPSILON {
        return Ok(Approximate(0.0));
    }
    let other_sign = rest != 0.0 && (rest < 0.0) != (b < 0.0);
    Number::approximate(if other_sign { rest + b } else { rest })
}

pub fn too_small() -> String {
    "the result is too close to 0: inexact results reach down to about 2.2e-308".to_owned()
}

fn too_long() -> String {
    format!("the number is too large or too fine: at most {MAX_DIGITS} digits are computed")
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exact(value) => f.write_str(&decimal(value)),
            Approximate(value) => f.write_str(&float(*value)),
        }
    }
}

/// Fifteen significant digits: the precision that a double guarantees.
fn float(value: f64) -> String {
    let rounded: f64 = format!("{value:.14e}").parse().unwrap_or(value);
    let size = rounded.abs();
    if rounded == 0.0 {
        "0".to_owned()
    } else if (1e-7..1e21).contains(&size) {
        rounded.to_string()
    } else {
        format!("{rounded:e}")
    }
}

fn decimal(value: &RBig) -> String {
    if value.is_int() {
        return value.numerator().to_string();
    }
    let sign = if *value < RBig::ZERO { "-" } else { "" };
    let (numerator, denominator) = (value.numerator().clone().unsigned_abs(), value.denominator());
    match finite_decimals(denominator) {
        Some(decimals) if decimals <= MAX_DECIMALS => {
            let digits = (numerator * ten_to(decimals) / denominator).to_string();
            format!("{sign}{}", place_point(&digits, decimals))
        }
        _ => format!("{sign}{}", rounded(&numerator, denominator)),
    }
}

/// The number of decimal places of `1 / denominator`, if finite.
fn finite_decimals(denominator: &UBig) -> Option<usize> {
    let twos = denominator.trailing_zeros().unwrap_or(0);
    let mut rest: UBig = denominator >> twos;
    let five = UBig::from(5_u8);
    let mut fives = 0;
    while fives <= MAX_DECIMALS && (&rest % &five).is_zero() {
        rest /= &five;
        fives += 1;
    }
    rest.is_one().then(|| twos.max(fives))
}

/// `numerator / denominator` rounded half up to [`SIGNIFICANT_DIGITS`].
fn rounded(numerator: &UBig, denominator: &UBig) -> String {
    // The exponent of the first digit, estimated from the bit lengths, then corrected.
    let guess = (numerator.bit_len() as f64 - denominator.bit_len() as f64) * std::f64::consts::LOG10_2;
    let mut exponent = guess.floor() as i64;
    loop {
        let shift = SIGNIFICANT_DIGITS as i64 - 1 - exponent;
        let scale = ten_to(shift.unsigned_abs() as usize);
        let (scaled, divisor) = if shift >= 0 {
            (numerator * scale, denominator.clone())
        } else {
            (numerator.clone(), denominator * scale)
        };
        let digits = ((scaled * 2_u8 + &divisor) / (divisor * 2_u8)).to_string();
        match digits.len().cmp(&SIGNIFICANT_DIGITS) {
            Ordering::Less => exponent -= 1,
            Ordering::Greater => exponent += 1,
            Ordering::Equal => return lay_out(digits.trim_end_matches('0'), exponent),
        }
    }
}

/// Formats significant digits, the first of which has the value 10^`exponent`.
fn lay_out(digits: &str, exponent: i64) -> String {
    let decimals = digits.len() as i64 - 1 - exponent;
    if (-7..SIGNIFICANT_DIGITS as i64).contains(&exponent) {
        match usize::try_from(decimals) {
            Ok(decimals) => place_point(digits, decimals),
            Err(_) => format!("{digits}{}", "0".repeat(decimals.unsigned_abs() as usize)),
        }
    } else {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        format!("{first}{point}{rest}e{exponent}")
    }
}

fn place_point(digits: &str, decimals: usize) -> String {
    let padded = format!("{digits:0>width$}", width = decimals + 1);
    let (whole, fraction) = padded.split_at(padded.len() - decimals);
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

/// Ten to the power of `exponent`.
pub fn ten_to(exponent: usize) -> UBig {
    UBig::from(10_u8).pow(exponent)
}
