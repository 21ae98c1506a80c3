//! The grammar. Operators by rising precedence: `+ -`, `* / %`, signs, `^` (or `**`, from the right).

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;
use winnow::ascii::{digit0, digit1};
use winnow::combinator::{
    Infix, Prefix, alt, cut_err, expression as precedence_climbing, opt, preceded, separated, terminated,
};
use winnow::error::{ErrMode, ParserError};
use winnow::prelude::*;
use winnow::stream::{Stateful, Stream};
use winnow::token::{one_of, take_while};

use crate::functions;
use crate::number::{MAX_DIGITS, Meter, Number, checked, ten_to};

/// Maximum length of an expression in bytes.
pub const MAX_LENGTH: usize = 10_000;
/// Maximum nesting of parentheses. The parser recurses for each level, on a stack of 512 KiB.
pub const MAX_NESTING: usize = 32;
/// Maximum number of powers per expression. Powers associate to the right, so a chain of them recurses as well.
pub const MAX_POWERS: usize = 64;

type Input<'i> = Stateful<&'i str, State>;
type Parsed<T> = Result<T, ErrMode<Problem>>;

/// The state of the parser.
#[derive(Debug, Default)]
struct State {
    meter: Meter,
    /// Length of the shortest remaining input reached so far: the position of a syntax error, if any.
    rest: usize,
}

/// Why an expression has no value: a message, or `None` if the input doesn't match the grammar.
#[derive(Debug)]
struct Problem(Option<String>);

impl<'i> ParserError<Input<'i>> for Problem {
    type Inner = Self;

    fn from_input(_: &Input<'i>) -> Self {
        Self(None)
    }

    fn into_inner(self) -> Result<Self::Inner, Self> {
        Ok(self)
    }
}

/// Parses and evaluates in one pass.
pub fn evaluate(text: &str) -> Result<Number, String> {
    admit(text)?;
    let state = State {
        rest: text.len(),
        ..State::default()
    };
    let mut input = Input { input: text, state };
    match terminated(expression, space).parse_next(&mut input) {
        Ok(number) if input.input.is_empty() => Ok(number),
        Ok(_) => Err(unexpected(text, input.input.len())),
        Err(ErrMode::Backtrack(Problem(Some(message))) | ErrMode::Cut(Problem(Some(message)))) => Err(message),
        Err(_) => Err(unexpected(text, input.state.rest)),
    }
}

/// Refuses expressions that would be too expensive to parse.
fn admit(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("the expression is empty".to_owned());
    }
    if text.len() > MAX_LENGTH {
        return Err(format!(
            "the expression is too long: {} bytes, at most {MAX_LENGTH} are read",
            text.len()
        ));
    }
    let (mut depth, mut deepest) = (0_usize, 0);
    for character in text.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > MAX_NESTING {
        return Err(format!(
            "parentheses nest {deepest} deep, at most {MAX_NESTING} levels are read"
        ));
    }
    if let Some(at) = text
        .match_indices('%')
        .map(|(at, _)| at)
        .find(|at| is_percent(text, *at))
    {
        return Err(unexpected(text, text.len() - at));
    }
    let powers = text.matches('^').count() + text.matches("**").count();
    if powers > MAX_POWERS {
        return Err(format!(
            "the expression has {powers} powers, at most {MAX_POWERS} are computed"
        ));
    }
    Ok(())
}

/// Whether `%` at `at` looks like a percentage. `1000 + 5% - 20` means one, but would parse as the remainder `5 % (-20)`. A
/// remainder by a signed number therefore has to be spaced like `7 % -3`.
fn is_percent(text: &str, at: usize) -> bool {
    let (before, after) = (&text[..at], text[at + 1..].trim_start());
    let is_sign = |c: char| matches!(c, '-' | '−' | '+');
    let is_attached = !after.trim_start_matches(is_sign).starts_with(char::is_whitespace);
    let is_remainder = before.ends_with(char::is_whitespace) && is_attached;
    after.starts_with(is_sign) && !is_remainder
}

fn unexpected(text: &str, rest: usize) -> String {
    let (before, after) = text
        .split_at_checked(text.len().saturating_sub(rest))
        .unwrap_or((text, ""));
    let position = before.chars().count() + 1;
    match after.chars().next() {
        None => "the expression ends where a number or `)` was expected".to_owned(),
        Some('=') => format!("unexpected `=` at character {position}: give an expression, not an equation"),
        Some(',') => format!("unexpected `,` at character {position}: it separates arguments, and never thousands"),
        Some('%') => format!("unexpected `%` at character {position}: it is the remainder; for 15 percent write 0.15"),
        Some(found) if found.is_alphanumeric() || found == '(' => {
            format!("unexpected `{found}` at character {position}: an operator such as `*` is missing before it")
        }
        Some(found) => format!("unexpected `{}` at character {position}", found.escape_debug()),
    }
}

fn expression(input: &mut Input<'_>) -> Parsed<Number> {
    precedence_climbing(operand)
        .prefix(sign)
        .infix(operator)
        .parse_next(input)
}

fn operand(input: &mut Input<'_>) -> Parsed<Number> {
    space.parse_next(input)?;
    alt((number, parenthesised, named)).parse_next(input)
}

/// A run of signs is one operator, so that `----1` doesn't recurse.
fn sign<'i>(input: &mut Input<'i>) -> Parsed<Prefix<Input<'i>, Number, ErrMode<Problem>>> {
    space.parse_next(input)?;
    let signs = take_while(1.., |c: char| matches!(c, '-' | '−' | '+') || c.is_whitespace()).parse_next(input)?;
    let minuses = signs.chars().filter(|c| matches!(c, '-' | '−')).count();
    Ok(if minuses % 2 == 1 {
        Prefix(30, |_, number| Ok(number.negate()))
    } else {
        Prefix(30, |_, number| Ok(number))
    })
}

fn operator<'i>(input: &mut Input<'i>) -> Parsed<Infix<Input<'i>, Number, ErrMode<Problem>>> {
    space.parse_next(input)?;
    alt((
        alt(("^", "**")).value(Infix::Right(40, |input: &mut Input<'i>, a, b| {
            cut(input.state.meter.power(a, b))
        })),
        one_of(['*', '×', '·', '⋅']).value(Infix::Left(20, |input: &mut Input<'i>, a, b| {
            cut(input.state.meter.multiply(a, b))
        })),
        one_of(['/', '÷']).value(Infix::Left(20, |input: &mut Input<'i>, a, b| {
            cut(input.state.meter.divide(a, b))
        })),
        '%'.value(Infix::Left(20, |input: &mut Input<'i>, a, b| {
            cut(input.state.meter.remainder(a, b))
        })),
        '+'.value(Infix::Left(10, |input: &mut Input<'i>, a, b| {
            cut(input.state.meter.add(a, b))
        })),
        one_of(['-', '−']).value(Infix::Left(10, |input: &mut Input<'i>, a, b| {
            cut(input.state.meter.subtract(a, b))
        })),
    ))
    .parse_next(input)
}

fn parenthesised(input: &mut Input<'_>) -> Parsed<Number> {
    preceded('(', cut_err(terminated(expression, close))).parse_next(input)
}

/// A constant or a function call.
fn named(input: &mut Input<'_>) -> Parsed<Number> {
    let name = (
        one_of(|c: char| c.is_alphabetic() || c == '_'),
        take_while(0.., |c: char| c.is_alphanumeric() || c == '_'),
    )
        .take()
        .parse_next(input)?;
    let arguments: Option<Vec<Number>> = opt(preceded(
        (space, '('),
        cut_err(terminated(separated(0.., expression, (space, ',')), close)),
    ))
    .parse_next(input)?;
    match arguments {
        Some(arguments) => cut(functions::call(name, &arguments, &mut input.state.meter)),
        None => cut(functions::constant(name).ok_or_else(|| functions::unknown(name))),
    }
}

/// `12`, `1_000.5`, `.5`, `6.02e23`.
fn number(input: &mut Input<'_>) -> Parsed<Number> {
    let (whole, fraction) = alt((
        (
            digits,
            opt(preceded('.', opt(digits).map(Option::unwrap_or_default))).map(Option::unwrap_or_default),
        ),
        preceded('.', digits).map(|fraction| (String::new(), fraction)),
    ))
    .parse_next(input)?;
    let exponent = opt(preceded(one_of(['e', 'E']), (opt(one_of(['+', '-'])), digit1))).parse_next(input)?;
    let decimals = fraction.len() as i64;
    let exponent = match exponent {
        None => 0,
        Some((sign, digits)) => {
            let size = digits.parse::<i64>().ok().filter(|size| *size <= MAX_DIGITS as i64);
            let size =
                cut(size.ok_or_else(|| format!("the exponent e{digits} is too large: at most e{MAX_DIGITS} is read")))?;
            if sign == Some('-') { -size } else { size }
        }
    };
    let Ok(digits) = format!("{whole}{fraction}").parse::<UBig>() else {
        return Err(ErrMode::Backtrack(Problem(None)));
    };
    let shift = exponent - decimals;
    // A decimal digit takes slightly more than three bits.
    let bits = 4 * shift.unsigned_abs() as usize;
    cut(input.state.meter.charge(bits, bits))?;
    let scale = ten_to(shift.unsigned_abs() as usize);
    let digits = IBig::from(digits);
    cut(checked(if shift >= 0 {
        RBig::from(digits * scale)
    } else {
        RBig::from_parts(digits, scale)
    }))
}

/// Digits, optionally grouped with `_`.
fn digits(input: &mut Input<'_>) -> Parsed<String> {
    (digit1, take_while(0.., ('0'..='9', '_')), digit0)
        .take()
        .map(|digits: &str| digits.replace('_', ""))
        .parse_next(input)
}

fn close(input: &mut Input<'_>) -> Parsed<char> {
    space.parse_next(input)?;
    ')'.parse_next(input)
}

fn space(input: &mut Input<'_>) -> Parsed<()> {
    take_while(0.., char::is_whitespace).void().parse_next(input)?;
    input.state.rest = input.state.rest.min(input.eof_offset());
    Ok(())
}

/// An arithmetic error ends the parse, because no alternative parse would fix it.
fn cut<T>(result: Result<T, String>) -> Parsed<T> {
    result.map_err(|message| ErrMode::Cut(Problem(Some(message))))
}
