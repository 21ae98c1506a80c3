//! Numbers: exact rationals while that is possible, floating point after that, and never more work than allowed.

use std::cmp::Ordering;
use std::fmt;

use dashu_int::ops::{BitTest, UnsignedAbs};
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

/// The most decimal digits a number may have on either side of its fraction bar.
pub const MAX_DIGITS: usize = 10_000;
/// The same in bits.
const MAX_BITS: usize = 33_220;
/// How much computing one expression may cost, in products of 64-bit words: about 350 operations on numbers of the
/// largest size, or millions on everyday ones. A unit takes one to six units of fuel.
const MAX_WORK: u64 = 100_000_000;
/// Fractions without a finite decimal form are rounded to this many significant digits.
const SIGNIFICANT_DIGITS: usize = 30;
/// Finite decimals are printed in full up to this many digits after the point.
const MAX_DECIMALS: usize = 1_000;

/// A result so far.
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

    /// A floating-point result, if it is one.
    pub fn approximate(value: f64) -> Result<Self, String> {
        if value.is_nan() {
            Err("the result is not a real number".to_owned())
        } else if value.is_infinite() {
            Err("the result is too large: inexact results reach up to about 1.8e308".to_owned())
        } else {
            Ok(Approximate(value))
        }
    }

    /// The nearest floating-point number.
    pub fn to_f64(&self) -> Result<f64, String> {
        let value = match self {
            Exact(value) => value.to_f64().value(),
            Approximate(value) => *value,
        };
        if value.is_finite() {
            Ok(value)
        } else {
            Err("a number is too large for an inexact operation, which reaches up to about 1.8e308".to_owned())
        }
    }

    /// The number as a fraction; a floating-point number has one, too.
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

    pub fn compare(&self, other: &Self) -> Result<Ordering, String> {
        Ok(match (self, other) {
            (Exact(a), Exact(b)) => a.cmp(b),
            (a, b) => a.to_exact()?.cmp(&b.to_exact()?),
        })
    }
}

/// Does the arithmetic and keeps account of it.
#[derive(Debug, Default)]
pub struct Meter {
    work: u64,
}

impl Meter {
    pub fn add(&mut self, a: Number, b: Number) -> Result<Number, String> {
        self.operate(a, b, |a, b| a + b, |a, b| a + b)
    }

    pub fn subtract(&mut self, a: Number, b: Number) -> Result<Number, String> {
        self.operate(a, b, |a, b| a - b, |a, b| a - b)
    }

    pub fn multiply(&mut self, a: Number, b: Number) -> Result<Number, String> {
        self.operate(a, b, |a, b| a * b, |a, b| a * b)
    }

    pub fn divide(&mut self, a: Number, b: Number) -> Result<Number, String> {
        if b.is_zero() {
            return Err("division by zero: the divisor of `/` is 0".to_owned());
        }
        self.operate(a, b, |a, b| a / b, |a, b| a / b)
    }

    /// What is left of `a` after taking away as many whole `b` as fit; it has the sign of `b`, as in Python.
    pub fn remainder(&mut self, a: Number, b: Number) -> Result<Number, String> {
        if b.is_zero() {
            return Err("division by zero: the divisor of `%` is 0".to_owned());
        }
        let exact = |a: RBig, b: RBig| {
            let whole = RBig::from((&a / &b).floor());
            a - b * whole
        };
        // The operator of floating-point numbers is exact, but has the sign of `a`.
        let approximate = |a: f64, b: f64| {
            let rest = a % b;
            if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
                rest + b
            } else {
                rest
            }
        };
        self.operate(a, b, exact, approximate)
    }

    /// `base` to the power of `exponent`; exact where the exponent is a whole number, or one half and the root is exact.
    pub fn power(&mut self, base: Number, exponent: Number) -> Result<Number, String> {
        if base.is_zero() && exponent.is_negative() {
            return Err("division by zero: 0 has no negative power".to_owned());
        }
        if let (Exact(base), Exact(exponent)) = (&base, &exponent) {
            if exponent.is_int() {
                return self.whole_power(base, exponent.numerator());
            }
            if *exponent == RBig::from_parts(IBig::ONE, UBig::from(2_u8)) {
                return self.square_root(Exact(base.clone()));
            }
        }
        if base.is_negative() && !exponent.to_exact()?.is_int() {
            return Err("a negative number has no real power with a fractional exponent".to_owned());
        }
        Number::approximate(base.to_f64()?.powf(exponent.to_f64()?))
    }

    fn whole_power(&mut self, base: &RBig, exponent: &IBig) -> Result<Number, String> {
        if *base == RBig::ONE || (base.is_zero() && !exponent.is_zero()) {
            return Ok(Exact(base.clone()));
        }
        if *base == -RBig::ONE {
            let odd = exponent.bit(0);
            return Ok(Exact(if odd { base.clone() } else { RBig::ONE }));
        }
        // At least this long is the result, so a tower of powers is refused before it is climbed.
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

    /// Exact for squares of fractions, the nearest floating-point number otherwise.
    pub fn square_root(&mut self, number: Number) -> Result<Number, String> {
        if number.is_negative() {
            return Err("a negative number has no real square root".to_owned());
        }
        self.root(&number, 2, f64::sqrt)
    }

    /// Exact for cubes of fractions, the nearest floating-point number otherwise.
    pub fn cube_root(&mut self, number: &Number) -> Result<Number, String> {
        self.root(number, 3, f64::cbrt)
    }

    fn root(&mut self, number: &Number, degree: u16, approximate: fn(f64) -> f64) -> Result<Number, String> {
        let value = match number {
            Exact(value) => value,
            Approximate(value) => return Number::approximate(approximate(*value)),
        };
        // A cube root takes several divisions of the whole length.
        self.charge(bits(value), usize::from(degree) * bits(value))?;
        let numerator = value.numerator().nth_root(degree.into());
        let denominator = value.denominator().nth_root(degree.into());
        if numerator.pow(degree.into()) == *value.numerator() && denominator.pow(degree.into()) == *value.denominator()
        {
            return Ok(Exact(RBig::from_parts(numerator, denominator)));
        }
        let (mantissa, exponent) = self.scaled(value, degree)?;
        let root = approximate(mantissa) * 2_f64.powi(exponent / i32::from(degree));
        if root == 0.0 {
            return Err("the result is too small: inexact results reach down to about 1e-308".to_owned());
        }
        Number::approximate(root)
    }

    /// `value` as a floating-point number times 2 to the power of a multiple of `step`, which is 0 where floating point
    /// reaches that far.
    pub fn scaled(&mut self, value: &RBig, step: u16) -> Result<(f64, i32), String> {
        let length = |bits: usize| i32::try_from(bits).map_err(|_| too_long());
        let size = length(value.numerator().bit_len())? - length(value.denominator().bit_len())?;
        let mut exponent = 0;
        let mut mantissa = value.clone();
        // Floating-point numbers lose digits below 2^-1022.
        if size.abs() > 1_000 {
            self.charge(bits(value), bits(value))?;
            exponent = size - size % i32::from(step);
            let scale = RBig::from(UBig::ONE << exponent.unsigned_abs() as usize);
            mantissa = if exponent > 0 {
                mantissa / scale
            } else {
                mantissa * scale
            };
        }
        Ok((mantissa.to_f64().value(), exponent))
    }

    fn operate(
        &mut self,
        a: Number,
        b: Number,
        exact: impl FnOnce(RBig, RBig) -> RBig,
        approximate: impl FnOnce(f64, f64) -> f64,
    ) -> Result<Number, String> {
        match (a, b) {
            (Exact(a), Exact(b)) => {
                let (mut shorter, longer) = (bits(&a).min(bits(&b)), bits(&a).max(bits(&b)));
                if !(a.is_int() && b.is_int()) {
                    // Fractions are reduced after each step, which costs the square of the longer part.
                    shorter = longer;
                }
                self.charge(shorter, longer)?;
                checked(exact(a, b))
            }
            (a, b) => Number::approximate(approximate(a.to_f64()?, b.to_f64()?)),
        }
    }

    /// Pays for one operation whose cost grows with the product of the two lengths, in bits; there is copying, too.
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

/// The number, if it is short enough.
pub fn checked(value: RBig) -> Result<Number, String> {
    // Some numbers of 10,001 digits have no more bits than the longest that fits.
    let fits = bits(&value) < MAX_BITS || {
        let limit = ten_to(MAX_DIGITS);
        value.numerator().clone().unsigned_abs() < limit && *value.denominator() < limit
    };
    if fits { Ok(Exact(value)) } else { Err(too_long()) }
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

/// Fifteen significant digits: what a double is sure of.
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

/// How many digits after the point `1 / denominator` has, if finitely many.
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

/// `numerator / denominator` to [`SIGNIFICANT_DIGITS`], half up.
fn rounded(numerator: &UBig, denominator: &UBig) -> String {
    // The exponent of the first digit, guessed from the bit lengths and corrected by looking.
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

/// Significant digits whose first stands at 10^`exponent`, written the way people do.
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
