//! Roots, logarithms, angles and powers of e. Their values are seldom exact, but their arguments often are. Exact
//! arguments aren't rounded first: they can exceed the range of floating point or lie between two of its numbers.

use std::cmp::Ordering;
use std::f64::consts;

use dashu_int::ops::{Abs, BitTest, RemEuclid};
use dashu_int::{IBig, UBig};
use dashu_ratio::{RBig, Relaxed};

use crate::number::{ALWAYS_WHOLE, INEXACT_REACH, Meter, Number, bits, ten_to, too_small};

use Number::{Approximate, Exact};

/// The digits of pi: a 3 and `PI_DECIMALS` after it.
const PI: &str =
    "31415926535897932384626433832795028841971693993751058209749445923078164062862089986280348253421170679";
const PI_DECIMALS: usize = 100;
/// Maximum exact angle in radians. It leaves 70 digits of [`PI`] for the distance to a multiple of pi/2.
const EXACT_REACH: f64 = 1e30;
/// An exact angle counts as a multiple of pi/2 if it differs from it by less than this fraction of itself.
const EXACT_NOISE: f64 = 1e-80;
/// Maximum length in bits of a power that a logarithm is compared with: slightly above that of the longest number.
const LONGEST_POWER: f64 = 50_000.0;
/// Maximum degree of a root.
pub const MAX_DEGREE: usize = 64;

/// The root of a degree from 2 to [`MAX_DEGREE`], exact if it is rational.
pub fn root(x: &Number, degree: usize, meter: &mut Meter) -> Result<Number, String> {
    let function = |x: f64| match degree {
        2 => x.sqrt(),
        3 => x.cbrt(),
        _ => x.powf(1.0 / degree as f64),
    };
    if degree.is_multiple_of(2) && x.is_negative() {
        return Err("a negative number has no real square root".to_owned());
    }
    let value = match x {
        Exact(value) => value,
        Approximate(value) => return Number::approximate(function(*value)),
    };
    // A square root costs as much as a division. Other roots use Newton's method, which converges more slowly the higher the
    // degree. The factor is measured, with a margin.
    let steps = if degree == 2 { 1 } else { 20 * degree };
    meter.charge(bits(value), steps * bits(value))?;
    let (numerator, denominator) = (value.numerator().nth_root(degree), value.denominator().nth_root(degree));
    if numerator.pow(degree) == *value.numerator() && denominator.pow(degree) == *value.denominator() {
        return Ok(Exact(RBig::from_parts(numerator, denominator)));
    }
    let (mantissa, exponent) = scaled(value, degree);
    let found = function(mantissa) * 2_f64.powi(exponent);
    if found.abs() >= ALWAYS_WHOLE {
        return Number::approximate(found);
    }
    let whole = Approximate(found.round()).to_exact()?;
    Number::nonzero(beside(found, value.cmp(&whole.pow(degree as isize))))
}

/// The logarithm that `log` computes for floating-point numbers, such as `f64::ln`.
pub fn logarithm(x: &Number, log: fn(f64) -> f64, meter: &mut Meter) -> Result<f64, String> {
    if x.is_negative() || x.is_zero() {
        return Err("a logarithm takes numbers above 0".to_owned());
    }
    let value = match x {
        Exact(value) => value,
        Approximate(value) => return Ok(log(*value)),
    };
    meter.charge(bits(value), bits(value))?;
    let above_one = (value - RBig::ONE).to_f64().value();
    if above_one == 0.0 && !value.is_one() {
        return Err(too_small());
    }
    if above_one.abs() < 0.5 {
        return Ok(above_one.ln_1p() * log(consts::E));
    }
    let nearest = value.to_f64().value();
    if nearest.is_normal() {
        return Ok(log(nearest));
    }
    let (mantissa, exponent) = scaled(value, 1);
    Ok(log(mantissa) + f64::from(exponent) * log(2.0))
}

/// Corrects `found`, the floating-point logarithm of `x` to `base`: exact if it is whole, and otherwise on the right side of
/// the nearest whole number, unless that power of the base is too long to compute.
pub fn logarithm_to(x: &Number, base: &Number, found: f64, meter: &mut Meter) -> Result<Number, String> {
    let (Exact(x), Exact(base)) = (x, base) else {
        return Number::approximate(found);
    };
    // Both parts of a fraction grow with each factor.
    let length = found.round().abs() * bits(base) as f64;
    if length > LONGEST_POWER {
        return Number::approximate(found);
    }
    let length = (length as usize).max(bits(x));
    meter.charge(length, length)?;
    let nearest = found.round() as isize;
    let side = x.cmp(&base.pow(nearest));
    match if *base < RBig::ONE { side.reverse() } else { side } {
        Ordering::Equal => Ok(Number::integer(nearest)),
        side => Number::approximate(beside(found, side)),
    }
}

/// e to the power of `x`.
pub fn exponential(x: &Number, meter: &mut Meter) -> Result<Number, String> {
    let nearest = x.to_f64()?;
    let (x, whole) = (x.to_exact()?, Approximate(nearest).to_exact()?);
    meter.charge(bits(&x), bits(&x))?;
    // An error of half an ulp in an argument near 700 causes about 250 ulp in the result.
    let rest = (x - whole).to_f64().value();
    Number::nonzero(nearest.exp() * (1.0 + rest))
}

/// The angle whose sine is `x`.
pub fn arc_sine(x: &Number, meter: &mut Meter) -> Result<Number, String> {
    match steep_arc(x, meter)? {
        Some(arc) => Number::nonzero((consts::FRAC_PI_2 - arc).copysign(x.nearest())),
        None if x.is_zero() => Ok(x.clone()),
        None => Number::nonzero(x.nearest().asin()),
    }
}

/// The angle whose cosine is `x`.
pub fn arc_cosine(x: &Number, meter: &mut Meter) -> Result<Number, String> {
    Number::approximate(match steep_arc(x, meter)? {
        Some(arc) if x.is_negative() => consts::PI - arc,
        Some(arc) => arc,
        None => x.nearest().acos(),
    })
}

/// The angle whose cosine is the absolute value of `x`, if that is above 1/2. Near 1, a tiny change of the argument is a
/// large one of the angle, so the difference from 1 is computed before rounding.
fn steep_arc(x: &Number, meter: &mut Meter) -> Result<Option<f64>, String> {
    let value = x.to_exact()?.abs();
    meter.charge(bits(&value), bits(&value))?;
    if value > RBig::ONE {
        return Err("`asin` and `acos` take numbers from -1 to 1".to_owned());
    }
    if x.nearest().abs() <= 0.5 {
        return Ok(None);
    }
    let half_gap = Exact((RBig::ONE - value) / RBig::from(2));
    Ok(Some(2.0 * root(&half_gap, 2, meter)?.to_f64()?.asin()))
}

/// Moves `found` to the true value's side of the nearest whole number, so that its floor is right.
fn beside(found: f64, side: Ordering) -> f64 {
    let whole = found.round();
    match side {
        Ordering::Less => found.min(whole.next_down()),
        Ordering::Equal => whole,
        Ordering::Greater => found.max(whole.next_up()),
    }
}

/// `value` as `mantissa * 2^(degree * exponent)`, where the mantissa is between 1 and `2^(degree + 1)`.
fn scaled(value: &RBig, degree: usize) -> (f64, i32) {
    let (numerator, denominator) = (value.numerator().clone(), value.denominator().clone());
    let length = numerator.bit_len() as i32 - denominator.bit_len() as i32;
    let exponent = (length - 1).div_euclid(degree as i32);
    let shift = degree * exponent.unsigned_abs() as usize;
    let mantissa = if exponent < 0 {
        Relaxed::from_parts(numerator << shift, denominator)
    } else {
        Relaxed::from_parts(numerator, denominator << shift)
    };
    (mantissa.to_f64().value(), exponent)
}

/// An angle as quarter turns plus a rest of at most an eighth of a turn either way, where floating point is most precise.
#[derive(Debug)]
pub struct Angle {
    /// Modulo 4.
    quarters: usize,
    rest: f64,
    /// Whether the rest is zero.
    even: bool,
}

impl Angle {
    pub fn new(radians: &Number, meter: &mut Meter) -> Result<Self, String> {
        let (reach, noise) = match radians {
            Exact(_) => (EXACT_REACH, EXACT_NOISE),
            Approximate(_) => (INEXACT_REACH, f64::EPSILON),
        };
        let value = radians.to_exact()?;
        let size = value.to_f64().value().abs();
        if size > reach {
            return Err(format!(
                "the angle is too large to tell where in its turn it ends: exact angles reach to {EXACT_REACH:e}, inexact \
                 ones to {INEXACT_REACH:e}"
            ));
        }
        meter.charge(bits(&value), bits(&value))?;
        let digits: UBig = PI.parse().map_err(|_| "pi is no number".to_owned())?;
        let quarter = RBig::from_parts(digits.into(), ten_to(PI_DECIMALS) * 2_u8);
        let quarters = (&value / &quarter).round();
        let rest = value - quarter * RBig::from(quarters.clone());
        // A multiple of pi is never exact, so `sin(pi)` would be 1e-16, which is noise.
        let noise = if quarters.is_zero() { 0.0 } else { size * noise };
        let even = rest.is_zero() || rest.to_f64().value().abs() < noise;
        Ok(Self {
            quarters: usize::try_from(quarters.rem_euclid(IBig::from(4))).unwrap_or_default(),
            rest: if even { 0.0 } else { rest.to_f64().value() },
            even,
        })
    }

    pub fn sin(&self) -> Result<Number, String> {
        self.coordinate(self.quarters)
    }

    pub fn cos(&self) -> Result<Number, String> {
        self.coordinate(self.quarters + 1)
    }

    /// The sine of the rest plus this many quarter turns.
    fn coordinate(&self, quarters: usize) -> Result<Number, String> {
        let value = match quarters % 2 {
            0 if self.even => return Ok(Approximate(0.0)),
            0 => self.rest.sin(),
            _ => self.rest.cos(),
        };
        Number::nonzero(if quarters % 4 < 2 { value } else { -value })
    }
}
