//! The functions and constants an expression can name.

use std::cmp::Ordering;
use std::f64::consts;

use dashu_int::IBig;
use dashu_int::ops::{Gcd, UnsignedAbs};
use dashu_ratio::RBig;

use crate::inexact::{self, Angle, logarithm};
use crate::number::{ALWAYS_WHOLE, MAX_DECIMALS, MAX_DIGITS, Meter, Number, bits, checked, ten_to};

/// All names, for the error about an unknown one.
pub const NAMES: &str = "abs, acos, asin, atan, cbrt, ceil, cos, exp, factorial, floor, gcd, lcm, ln, log, log2, log10, \
                         max, min, mod, round, sin, sqrt, tan, trunc; constants: pi, tau, e";

/// Maximum argument of `factorial`. Its result has 9,998 digits.
const MAX_FACTORIAL: u32 = 3_248;

/// The constant `name`, if it is one.
pub fn constant(name: &str) -> Option<Number> {
    match name.to_ascii_lowercase().as_str() {
        "pi" | "π" => Some(Number::Approximate(consts::PI)),
        "tau" => Some(Number::Approximate(consts::TAU)),
        "e" => Some(Number::Approximate(consts::E)),
        _ => None,
    }
}

/// Calls the function `name`.
pub fn call(name: &str, arguments: &[Number], meter: &mut Meter) -> Result<Number, String> {
    let name = name.to_ascii_lowercase();
    match (name.as_str(), arguments) {
        ("abs", [x]) => Ok(if x.is_negative() { x.clone().negate() } else { x.clone() }),
        ("floor", [x]) => to_whole(x, RBig::floor, meter),
        ("ceil", [x]) => to_whole(x, RBig::ceil, meter),
        ("trunc", [x]) => to_whole(x, RBig::trunc, meter),
        ("round", [x]) => to_whole(x, RBig::round, meter),
        ("round", [x, digits]) => round(x, digits, meter),
        ("mod", [a, b]) => meter.remainder(a.clone(), b.clone()),
        ("min", [first, rest @ ..]) => extreme(first, rest, Ordering::Less, meter),
        ("max", [first, rest @ ..]) => extreme(first, rest, Ordering::Greater, meter),
        ("gcd", [first, rest @ ..]) => rest
            .iter()
            .try_fold(integer(first)?, |a, b| gcd(&a, &integer(b)?, meter))
            .map(whole),
        ("lcm", [first, rest @ ..]) => rest.iter().try_fold(whole(integer(first)?), |a, b| lcm(&a, b, meter)),
        ("factorial", [n]) => factorial(n, meter),
        ("sqrt", [x]) => inexact::root(x, 2, meter),
        ("cbrt", [x]) => inexact::root(x, 3, meter),
        ("exp", [x]) => inexact::exponential(x, meter),
        ("ln", [x]) => Number::approximate(logarithm(x, f64::ln, meter)?),
        ("log" | "log10", [x]) => {
            let found = logarithm(x, f64::log10, meter)?;
            inexact::logarithm_to(x, &Number::integer(10), found, meter)
        }
        ("log2", [x]) => {
            let found = logarithm(x, f64::log2, meter)?;
            inexact::logarithm_to(x, &Number::integer(2), found, meter)
        }
        ("log", [x, base]) => {
            let divisor = logarithm(base, f64::ln, meter)?;
            if divisor == 0.0 {
                return Err("the base of a logarithm can't be 1".to_owned());
            }
            let found = logarithm(x, f64::ln, meter)? / divisor;
            inexact::logarithm_to(x, base, found, meter)
        }
        ("sin", [x]) => Angle::new(x, meter)?.sin(),
        ("cos", [x]) => Angle::new(x, meter)?.cos(),
        ("tan", [x]) => {
            let angle = Angle::new(x, meter)?;
            let (sine, cosine) = (angle.sin()?, angle.cos()?);
            if cosine.is_zero() {
                return Err("tan has no value there: its argument is an odd multiple of pi/2".to_owned());
            }
            meter.divide(sine, cosine)
        }
        ("asin", [x]) => inexact::arc_sine(x, meter),
        ("acos", [x]) => inexact::arc_cosine(x, meter),
        ("atan", [x]) if x.is_zero() => Ok(x.clone()),
        ("atan", [x]) => Number::nonzero(x.nearest().atan()),
        (name, _) => Err(match parameters(name) {
            Some(usage) => format!("`{name}` is used as {usage}, not with {} arguments", arguments.len()),
            None => unknown(name),
        }),
    }
}

/// The error for a name that isn't a constant.
pub fn unknown(name: &str) -> String {
    if parameters(&name.to_ascii_lowercase()).is_some() {
        return format!("`{name}` is used with parentheses around its arguments, like {name}(2)");
    }
    let shown: String = name.chars().take(40).collect();
    format!("`{shown}` is not known; functions: {NAMES}")
}

fn parameters(name: &str) -> Option<&'static str> {
    match name {
        "mod" => Some("mod(a, b)"),
        "min" | "max" | "gcd" | "lcm" => Some("a function of one or more numbers"),
        "round" => Some("round(x) or round(x, digits)"),
        "log" => Some("log(x), to the base of 10, or log(x, base)"),
        "abs" | "acos" | "asin" | "atan" | "cbrt" | "ceil" | "cos" | "exp" | "factorial" | "floor" | "ln" | "log2"
        | "log10" | "sin" | "sqrt" | "tan" | "trunc" => Some("a function of one number"),
        _ => None,
    }
}

fn to_whole(x: &Number, function: fn(&RBig) -> IBig, meter: &mut Meter) -> Result<Number, String> {
    match x {
        // Already whole; an exact result would show more digits than are known.
        Number::Approximate(value) if value.abs() >= ALWAYS_WHOLE => Ok(x.clone()),
        _ => {
            let x = x.to_exact()?;
            meter.charge(bits(&x), bits(&x))?;
            Ok(whole(function(&x)))
        }
    }
}

fn extreme(first: &Number, rest: &[Number], wanted: Ordering, meter: &mut Meter) -> Result<Number, String> {
    let (mut best, mut value) = (first, first.to_exact()?);
    for number in rest {
        let other = number.to_exact()?;
        meter.charge(bits(&other), bits(&value))?;
        if other.cmp(&value) == wanted {
            (best, value) = (number, other);
        }
    }
    Ok(best.clone())
}

fn round(x: &Number, digits: &Number, meter: &mut Meter) -> Result<Number, String> {
    let allowed = -(MAX_DIGITS as i64)..=MAX_DECIMALS as i64;
    let digits = i64::try_from(integer(digits)?)
        .ok()
        .filter(|digits| allowed.contains(digits));
    let digits = digits.ok_or_else(|| {
        format!(
            "the second argument of `round` is a number of digits after the point: {MAX_DECIMALS} at most, or down to \
             -{MAX_DIGITS} to round before the point"
        )
    })?;
    if digits >= 0 && matches!(x, Number::Approximate(value) if value.abs() >= ALWAYS_WHOLE) {
        return Ok(x.clone());
    }
    let scale = RBig::from(ten_to(digits.unsigned_abs() as usize));
    let scale = if digits < 0 { RBig::ONE / scale } else { scale };
    let x = x.to_exact()?;
    meter.charge(bits(&x), bits(&scale))?;
    checked(RBig::from((x * &scale).round()) / scale)
}

fn whole(value: IBig) -> Number {
    Number::integer(value)
}

fn integer(x: &Number) -> Result<IBig, String> {
    match x {
        Number::Exact(value) if value.is_int() => Ok(value.numerator().clone()),
        Number::Exact(_) => Err(format!("{x} is not a whole number")),
        Number::Approximate(_) => Err(format!(
            "{x} is an inexact number where a whole number is needed: put it into round()"
        )),
    }
}

fn gcd(a: &IBig, b: &IBig, meter: &mut Meter) -> Result<IBig, String> {
    meter.charge(bits(&RBig::from(a.clone())), bits(&RBig::from(b.clone())))?;
    if b.is_zero() || a.is_zero() {
        // dashu panics at gcd(0, 0).
        return Ok(IBig::from(
            if b.is_zero() { a.clone() } else { b.clone() }.unsigned_abs(),
        ));
    }
    Ok(a.gcd(b).into())
}

fn lcm(a: &Number, b: &Number, meter: &mut Meter) -> Result<Number, String> {
    let divisor = whole(gcd(&integer(a)?, &integer(b)?, meter)?);
    if divisor.is_zero() {
        return Ok(divisor);
    }
    let quotient = meter.divide(a.clone(), divisor)?;
    let product = meter.multiply(quotient, b.clone())?;
    Ok(if product.is_negative() {
        product.negate()
    } else {
        product
    })
}

fn factorial(n: &Number, meter: &mut Meter) -> Result<Number, String> {
    let n = u32::try_from(integer(n)?).ok().filter(|n| *n <= MAX_FACTORIAL);
    let n = n.ok_or_else(|| format!("`factorial` takes whole numbers from 0 to {MAX_FACTORIAL}"))?;
    // No factor is longer than 12 bits, and there are `n` multiplications by one.
    meter.charge(12 * n as usize, 64 * n as usize)?;
    Ok(Number::integer(
        (2..=n).fold(IBig::ONE, |product, factor| product * factor),
    ))
}
