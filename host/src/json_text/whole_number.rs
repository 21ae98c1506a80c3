//! Whole numbers that are written like fractions.

/// Digits of a number that is rewritten. All of a 128-bit integer; a longer number stays as it was written, so that a few
/// bytes such as `1e308` can't become hundreds.
const MAX_DIGITS: usize = 40;

/// A number of JSON as an integer, if it is whole and not written as one yet. Exact: it moves the point in the text.
pub(crate) fn whole_number(text: &str) -> Option<String> {
    let is_integer = !text.contains(['.', 'e', 'E']);
    if is_integer && text != "-0" || !text.ends_with(|last: char| last.is_ascii_digit()) {
        return None;
    }
    let (sign, number) = match text.strip_prefix('-') {
        Some(number) => ("-", number),
        None => ("", text),
    };
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.bytes().all(|digit| digit == b'0') {
        return Some("0".to_owned());
    }
    let exponent: i32 = exponent.parse().ok()?;
    let point = i64::try_from(whole.len()).ok()? + i64::from(exponent);
    let point = usize::try_from(point).ok()?;
    let (whole, rest) = digits.split_at(point.min(digits.len()));
    if rest.bytes().any(|digit| digit != b'0') {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    // The zeros of an exponent are counted before they are written.
    let zeros = point.saturating_sub(digits.len());
    (whole.len().saturating_add(zeros) <= MAX_DIGITS).then(|| format!("{sign}{whole}{}", "0".repeat(zeros)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whole_numbers_are_moved_to_their_point() {
        for (text, integer) in [
            ("1.0", "1"),
            ("1e3", "1000"),
            ("1E+3", "1000"),
            ("12.50e1", "125"),
            ("-1.5e1", "-15"),
            ("100e-2", "1"),
            ("0.0", "0"),
            ("-0", "0"),
            ("-0.0e5", "0"),
            ("0e99999999999", "0"),
            ("0.001e3", "1"),
            ("12345678901234567890123.0", "12345678901234567890123"),
            ("1e39", "1000000000000000000000000000000000000000"),
        ] {
            assert_eq!(whole_number(text).as_deref(), Some(integer), "{text}");
        }
        for text in [
            "1",
            "-7",
            "0",
            "1.5",
            "1e-1",
            "1.25e1",
            "1e40",
            "1e308",
            "1e99999999999",
            "1e-99999999999",
            "\"1.0\"",
            "true",
        ] {
            assert_eq!(whole_number(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_rewritten_number_has_the_same_value(digits in "-?(0|[1-9][0-9]{0,5})(\\.[0-9]{1,5})?([eE][+-]?[0-9])?") {
            let before: f64 = digits.parse().unwrap();
            match whole_number(&digits) {
                Some(integer) => {
                    prop_assert_eq!(integer.parse::<i128>().unwrap() as f64, before);
                    prop_assert!(integer == "0" || !integer.starts_with('0'));
                }
                None => prop_assert!(before.fract() != 0.0 || !digits.contains(['.', 'e', 'E']), "{}", digits),
            }
        }
    }
}
