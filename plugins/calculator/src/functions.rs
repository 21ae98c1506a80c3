//! The functions and constants an expression can name.

use std::cmp::Ordering;
use std::f64::consts;

use dashu_int::IBig;
use dashu_int::ops::{BitTest, Gcd, UnsignedAbs};
use dashu_ratio::RBig;

use crate::number::{Meter, Number, bits, checked, ten_to};

/// Every name, for the message about one that is none.
pub const NAMES: &str = "abs, acos, asin, atan, cbrt, ceil, cos, exp, factorial, floor, gcd, lcm, ln, log, log2, log10, \
                         max, min, mod, round, sin, sqrt, tan, trunc; constants: pi, tau, e";

/// The largest argument of `factorial`: its result has 9,998 digits.
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
        ("floor", [x]) => Ok(Number::integer(x.to_exact()?.floor())),
        ("ceil", [x]) => Ok(Number::integer(x.to_exact()?.ceil())),
        ("trunc", [x]) => Ok(Number::integer(x.to_exact()?.trunc())),
        ("round", [x]) => Ok(Number::integer(x.to_exact()?.round())),
        ("round", [x, digits]) => round(x, digits, meter),
        ("mod", [a, b]) => meter.remainder(a.clone(), b.clone()),
        ("min", [first, rest @ ..]) => extreme(first, rest, Ordering::Less),
        ("max", [first, rest @ ..]) => extreme(first, rest, Ordering::Greater),
        ("gcd", [first, rest @ ..]) => rest
            .iter()
            .try_fold(integer(first)?, |a, b| gcd(&a, &integer(b)?, meter))
            .map(whole),
        ("lcm", [first, rest @ ..]) => rest.iter().try_fold(whole(integer(first)?), |a, b| lcm(&a, b, meter)),
        ("factorial", [n]) => factorial(n, meter),
        ("sqrt", [x]) => meter.square_root(x.clone()),
        ("cbrt", [x]) => meter.cube_root(x),
        ("exp", [x]) => float(x, f64::exp),
        ("ln", [x]) => Number::approximate(logarithm(x, f64::ln, meter)?),
        ("log" | "log10", [x]) => whole_logarithm(logarithm(x, f64::log10, meter)?, x, &Number::integer(10), meter),
        ("log2", [x]) => whole_logarithm(logarithm(x, f64::log2, meter)?, x, &Number::integer(2), meter),
        ("log", [x, base]) => logarithm_to(x, base, meter),
        ("sin", [x]) => sine(x, 0),
        ("cos", [x]) => sine(x, 1),
        ("tan", [x]) => tangent(x, meter),
        ("asin" | "acos", [x]) if x.to_f64()?.abs() > 1.0 => Err(format!("`{name}` takes numbers from -1 to 1")),
        ("asin", [x]) => float(x, f64::asin),
        ("acos", [x]) => float(x, f64::acos),
        ("atan", [x]) => float(x, f64::atan),
        (name, _) => Err(match parameters(name) {
            Some(usage) => format!("`{name}` is used as {usage}, not with {} arguments", arguments.len()),
            None => unknown(name),
        }),
    }
}

/// The message about a name that means nothing here.
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

fn float(x: &Number, function: fn(f64) -> f64) -> Result<Number, String> {
    Number::approximate(function(x.to_f64()?))
}

/// `function` is the logarithm of floating-point numbers. They are too coarse near 1, where an exact number's distance from
/// 1 tells more, and too short for an exact number with thousands of digits.
fn logarithm(x: &Number, function: fn(f64) -> f64, meter: &mut Meter) -> Result<f64, String> {
    if x.is_negative() || x.is_zero() {
        return Err("a logarithm takes numbers above 0".to_owned());
    }
    let value = match x {
        Number::Exact(value) => value,
        Number::Approximate(value) => return Ok(function(*value)),
    };
    let (mantissa, exponent) = meter.scaled(value, 1)?;
    if exponent == 0 && (mantissa - 1.0).abs() < 0.5 {
        meter.charge(bits(value), bits(value))?;
        let above_one = (value - RBig::ONE).to_f64().value();
        return Ok(above_one.ln_1p() * function(consts::E));
    }
    Ok(function(mantissa) + f64::from(exponent) * function(2.0))
}

fn logarithm_to(x: &Number, base: &Number, meter: &mut Meter) -> Result<Number, String> {
    let divisor = logarithm(base, f64::ln, meter)?;
    if divisor == 0.0 {
        return Err("1 is no base of a logarithm".to_owned());
    }
    whole_logarithm(logarithm(x, f64::ln, meter)? / divisor, x, base, meter)
}

/// A whole number where it is one: what is computed from rounded logarithms would often miss it by a hair, and rounding it
/// down would then be wrong by one.
fn whole_logarithm(computed: f64, x: &Number, base: &Number, meter: &mut Meter) -> Result<Number, String> {
    if let (Number::Exact(value), Number::Exact(_)) = (x, base)
        && (computed - computed.round()).abs() < 1e-6
        && computed.abs() < 1e6
    {
        let whole = Number::integer(computed.round() as i64);
        if let Ok(Number::Exact(power)) = meter.power(base.clone(), whole.clone())
            && power == *value
        {
            return Ok(whole);
        }
    }
    Number::approximate(computed)
}

/// The functions of an angle, by the quarter turns that each is ahead of the sine.
fn sine(x: &Number, ahead: usize) -> Result<Number, String> {
    match x {
        // Rounding to floating point comes last, so that the angle is right whatever its size.
        Number::Exact(angle) => {
            let (quarter, rest) = within_a_turn(angle)?;
            Number::approximate(match (quarter + ahead) % 4 {
                0 => rest.sin(),
                1 => rest.cos(),
                2 => -rest.sin(),
                _ => -rest.cos(),
            })
        }
        Number::Approximate(angle) if angle.abs() > LARGEST_ANGLE => Err(too_large_an_angle()),
        // A multiple of pi is not exact, so `sin(pi)` comes out as 1e-16: noise that no reader wants. What is smaller than
        // the angle's own error is nothing.
        Number::Approximate(angle) => {
            let y = if ahead == 0 { angle.sin() } else { angle.cos() };
            let noise = angle.abs() > 1.0 && y.abs() < angle.abs() * f64::EPSILON;
            Number::approximate(if noise { 0.0 } else { y })
        }
    }
}

fn tangent(x: &Number, meter: &mut Meter) -> Result<Number, String> {
    let cosine = sine(x, 1)?;
    if cosine.is_zero() {
        return Err("tan has no value there: its argument is an odd multiple of pi/2".to_owned());
    }
    meter.divide(sine(x, 0)?, cosine)
}

/// The largest inexact angle: where it lies within a turn is uncertain by its size times 10^-16, so six digits are right.
const LARGEST_ANGLE: f64 = 1e9;
/// 2 pi times 10^60.
const TURN: &str = "6283185307179586476925286766559005768394338798750211641949889";
const TURN_DECIMALS: usize = 60;
/// As far as [`TURN`] is precise enough, in bits.
const LONGEST_ANGLE: usize = 128;

/// The quarter turns in an angle, up to whole turns, and what is left: at most an eighth of a turn, in radians.
fn within_a_turn(angle: &RBig) -> Result<(usize, f64), String> {
    if angle.trunc().bit_len() > LONGEST_ANGLE {
        return Err(too_large_an_angle());
    }
    let turn: IBig = TURN.parse().map_err(|_| "2 pi is not a number".to_owned())?;
    let quarter = RBig::from(turn) / RBig::from(ten_to(TURN_DECIMALS) * 4_u8);
    let quarters = (angle / &quarter).round();
    let rest = angle - RBig::from(quarters.clone()) * quarter;
    let four = IBig::from(4);
    let place = (quarters % &four + &four) % four;
    Ok((usize::try_from(place).unwrap_or(0), rest.to_f64().value()))
}

fn too_large_an_angle() -> String {
    "the angle is too large: inexact ones, such as multiples of pi, are taken up to 1e9, exact ones up to 3e38"
        .to_owned()
}

fn extreme(first: &Number, rest: &[Number], wanted: Ordering) -> Result<Number, String> {
    let mut best = first;
    for number in rest {
        if number.compare(best)? == wanted {
            best = number;
        }
    }
    Ok(best.clone())
}

fn round(x: &Number, digits: &Number, meter: &mut Meter) -> Result<Number, String> {
    let digits = integer(digits)?;
    let digits = isize::try_from(digits)
        .ok()
        .filter(|digits| digits.unsigned_abs() <= 1_000);
    let digits = digits.ok_or("`round` takes -1000 to 1000 digits after the point as its second argument")?;
    let scale = RBig::from(ten_to(digits.unsigned_abs()));
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
        _ => Err(format!("{x} is not a whole number")),
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
