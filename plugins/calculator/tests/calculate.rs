//! Expressions and their results, in tables.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use calculator::calculate;

#[track_caller]
fn check(expression: &str, expected: &str) {
    assert_eq!(calculate(expression).as_deref(), Ok(expected), "{expression}");
}

#[track_caller]
fn check_error(expression: &str, part: &str) {
    match calculate(expression) {
        Err(message) => assert!(message.contains(part), "{expression}: {message}"),
        Ok(value) => panic!("{expression} is {value}"),
    }
}

#[test]
fn precedence_and_associativity() {
    check("25 * 17", "425");
    check("1 + 2 * 3", "7");
    check("(1 + 2) * 3", "9");
    check("2 ^ 3 ^ 2", "512");
    check("2 ** 10", "1024");
    check("-2 ^ 2", "-4");
    check("(-2) ^ 2", "4");
    check("2 ^ -2 * 3", "0.75");
    check("10 - 4 - 3", "3");
    check("100 / 10 / 5", "2");
    check("- - -5", "-5");
    check("3 - -2", "5");
    check("2 * -3", "-6");
    check("25 × 17 ÷ 5 − 5", "80");
}

#[test]
fn remainder_has_the_sign_of_the_divisor() {
    check("17 % 5", "2");
    check("-7 % 3", "2");
    check("7 % -3", "-2");
    check("5.5 % 2", "1.5");
    check("mod(17, 5)", "2");
}

#[test]
fn exact_numbers() {
    check("0.1 + 0.2", "0.3");
    check("2^64 + 1", "18446744073709551617");
    check(
        "12345678901234567890 * 98765432109876543210",
        "1219326311370217952237463801111263526900",
    );
    check("1/3 * 3", "1");
    check("1.10 * 3", "3.3");
    check("1e-3", "0.001");
    check("6.02e23", "602000000000000000000000");
    check("1_000_000 / 8", "125000");
    check(".5 + 5.", "5.5");
    check("-1/8", "-0.125");
    check("factorial(25)", "15511210043330985984000000");
    assert_eq!(calculate("factorial(3248)").map(|digits| digits.len()), Ok(9_998));
    check("sqrt(2^200)", "1267650600228229401496703205376");
    check("4 ^ 0.5", "2");
    check("0 ^ 0", "1");
    check("(-1) ^ (2^100 + 1)", "-1");
}

#[test]
fn rounded_fractions() {
    check("1/3", "0.333333333333333333333333333333");
    check("2/3", "0.666666666666666666666666666667");
    check("-20/3", "-6.66666666666666666666666666667");
    check("1e12/7", "142857142857.142857142857142857");
    check("1/3^100", "1.9403252174826328375885060288e-48");
    check("(10^40 + 1)/3", "3.33333333333333333333333333333e39");
}

#[test]
fn functions_and_constants() {
    check("sqrt(16)", "4");
    check("sqrt(2)", "1.4142135623731");
    check("sin(pi / 6)", "0.5");
    check("sin(pi)", "0");
    check("cos(0) + tan(0)", "1");
    check("ln(e)", "1");
    check("log(1000)", "3");
    check("log(8, 2)", "3");
    check("log2(1024)", "10");
    check("exp(1)", "2.71828182845905");
    check("abs(-3.5)", "3.5");
    check("min(3, 1, 2) + max(3, 1, 2)", "4");
    check("floor(-1.5)", "-2");
    check("ceil(1.2)", "2");
    check("round(2.5)", "3");
    check("round(2.675, 2)", "2.68");
    check("round(pi, 4)", "3.1416");
    check("trunc(-1.9)", "-1");
    check("gcd(12, 18) + lcm(4, 6)", "18");
    check("gcd(0, 0)", "0");
    check("SQRT(9) + PI - π", "3");
    check("exp(100)", "2.68811714181614e43");
}

/// True values to fifteen digits, for angles whose floating-point form doesn't determine their position within a turn.
#[test]
fn angles_of_any_size() {
    check("sin(10^16)", "0.779688006606979");
    check("cos(5*10^15)", "-0.432337716297638");
    check("sin(10^22)", "-0.852200849767189");
    check("sin(10^30)", "-0.0901169019121381");
    check("tan(10^16)", "-1.24517343571841");
    check("sin(355)", "-0.0000301443533594885");
    check("sin(10^12)", "-0.611238702376889");
    check("sin(3.141592653589793)", "2.3846264338328e-16");
    check("sin(-1)", "-0.841470984807897");
    check("sin(0)", "0");
    check("cos(10^-400)", "1");
    check("sin(7 * pi / 6) + cos(2 * pi / 3)", "-1");
    check("sin(10^31 - 10^31)", "0");
    check_error("sin(10^31)", "the angle is too large");
}

/// The error of an inexact angle grows with it. A smaller value counts as zero, and if the error is too large, the result is
/// an error.
#[test]
fn inexact_angles() {
    check("sin(1000000 * pi)", "0");
    check("cos(1000000 * pi)", "1");
    check("cos(10^8 * pi)", "1");
    check("cos(pi / 2)", "0");
    check("tan(-pi / 4)", "-1");
    check_error("tan(pi / 2)", "tan has no value");
    check_error("tan(-5 * pi / 2)", "tan has no value");
    check_error("sin(exp(40))", "the angle is too large");
    check_error("sin(10^9 * pi)", "inexact ones to 1e9");
}

#[test]
fn logarithms_of_powers_are_whole() {
    check("log(243, 3)", "5");
    check("floor(log(243, 3))", "5");
    check("ceil(log(125, 5))", "3");
    check("floor(log(244, 3)) + ceil(log(242, 3))", "10");
    check("log(1/8, 2)", "-3");
    check("log(8, 1/2)", "-3");
    check("log(1.5^10, 1.5)", "10");
    check("log(10^300, 10)", "300");
    check("10^log(1000)", "1000");
    check("log2(2^33000)", "33000");
    check("log(1/10^9000)", "-9000");
    check("log(1, 7)", "0");
    check("floor(log(10^400)) + log2(2^5000)", "5400");
    check("gcd(log2(1024), 4)", "2");
    check("ceil(log(10^302)) - floor(log10(1/10^302))", "604");
    check("floor(log(2.716923932235892457, 1.001))", "999");
    // The power to compare with would take gigabytes.
    check("log(2, 1 + 10^-9)", "693147180.906519");
}

/// Floating point would round each of these to a whole number.
#[test]
fn floors_are_right_just_below_and_above_a_whole_number() {
    check("floor(log(10^20 - 1))", "19");
    check("ceil(log(10^20 + 1))", "21");
    check("floor(log2(2^60 - 1))", "59");
    check("ceil(log(2^60 - 1, 1/2))", "-59");
    check("floor(sqrt(10^16 - 1))", "99999999");
    check("ceil(sqrt(10^16 + 1))", "100000001");
    check("floor(cbrt(10^36 - 1))", "999999999999");
    check("floor(125^(1/3))", "5");
}

#[test]
fn arguments_are_taken_as_they_are() {
    // Beyond the range of floating point.
    check("sqrt(2 * 10^400)", "1.4142135623731e200");
    check("cbrt(10^400)", "2.15443469003188e133");
    check("cbrt(-10^399) + 10^133", "0");
    check("(2 * 10^400)^(1/4)", "1.18920711500272e100");
    check("ln(10^400)", "921.034037197618");
    check("ln(10^-400)", "-921.034037197618");
    check("atan(-10^400)", "-1.5707963267949");
    check("max(10^400, pi) / 10^400", "1");
    // Between two floating-point numbers.
    check("ln(1 + 10^-20)", "1e-20");
    check("log2(1 - 10^-20)", "-1.44269504088896e-20");
    check("exp(674.09413224580299649)", "5.69327179926146e292");
    check("acos(1 - 10^-20)", "1.4142135623731e-10");
    check("asin(1 - 10^-18)", "1.57079632538068");
    check("asin(-1) + acos(-1)", "1.5707963267949");
    check_error("asin(1 + 10^-30)", "-1 to 1");
    check_error("acos(-10^400)", "-1 to 1");
}

/// True values to fifteen digits.
#[test]
fn exact_numbers_beyond_floating_point_have_roots_and_logarithms() {
    check("sqrt(2*10^400)", "1.4142135623731e200");
    check("sqrt(3/10^500)", "1.73205080756888e-250");
    check("cbrt(10^400)", "2.15443469003188e133");
    check("cbrt(-2*10^400)", "-2.71441761659491e133");
    check("ln(10^400)", "921.034037197618");
    check("ln(1/10^400)", "-921.034037197618");
    check("log2(10^500)", "1660.96404744368");
    check("log(10^400, 7)", "473.317864981975");
    // The nearest floating-point number is 1, or keeps only half the digits of the difference from 1.
    check("ln(1 + 10^-20)", "1e-20");
    check("ln(1.0000001)", "9.99999950000003e-8");
    check("log2(1 - 10^-20)", "-1.44269504088896e-20");
    check("cbrt(27/8)", "1.5");
    check("cbrt(10^9999) - 10^3333", "0");
    check("min(10^400, pi)", "3.14159265358979");
    check_error("sqrt(2*10^4000)", "too large");
    check_error("sqrt(2*10^-4000)", "too close to 0");
}

#[test]
fn nothing_becomes_zero_by_being_small() {
    check_error("exp(-1000)", "too close to 0");
    check_error("exp(-740)", "too close to 0");
    check_error("pi * 10^-400", "too close to 0");
    check_error("pi * 1e-200 / 1e200", "too close to 0");
    check_error("sin(10^-400)", "too close to 0");
    check_error("atan(10^-400)", "too close to 0");
    check_error("sqrt(10^-801)", "too close to 0");
    check_error("ln(1 + 10^-400)", "too close to 0");
    check_error("(10^-400)^0.9", "too close to 0");
    check(
        "0 * pi + 0 / pi + 0^0.3 + asin(0) + atan(0) + sqrt(0) + ln(1) + acos(1)",
        "0",
    );
    check("0 ^ sin(0)", "1");
    check("pi + 10^-400", "3.14159265358979");
}

#[test]
fn a_percentage_is_no_remainder() {
    for expression in ["1000 + 5% - 20", "200 + 10% + 5", "5%-20", "10 % + 5", "5% + 1"] {
        check_error(expression, "it is the remainder; for 15 percent write 0.15");
    }
    check("7 % -3", "-2");
    check("7 % +3", "1");
    check("7%3 - 1", "0");
    check("(7)%(-3)", "-2");
}

#[test]
fn remainders_of_inexact_numbers() {
    check("exp(20) % 7", "4.40979027748108");
    check("exp(20) % -7", "-2.59020972251892");
    check("-exp(20) % 7", "2.59020972251892");
    check("5 % pi", "1.85840734641021");
    check("(3 * pi) % pi", "0");
    check("0.3 * exp(0) % 0.1", "0");
    check("exp(0) % 1", "0");
    check("-pi * 1e-20 % 3", "3");
    check_error("exp(45) % 7", "the remainder is not known");
    check_error("-exp(45) % 7", "the remainder is not known");
    check_error("5 % (pi * 1e-300)", "the remainder is not known");
}

#[test]
fn rounding_before_the_point() {
    check("round(1234, -2)", "1200");
    check("round(-1250, -2)", "-1300");
    check("round(pi, -1)", "0");
    check("round(10^9999 + 1, -9999) - 10^9999", "0");
    // An inexact number isn't shown with more digits than it has.
    check("round(exp(100))", "2.68811714181614e43");
    check("floor(exp(100))", "2.68811714181614e43");
    check("round(exp(100), 2)", "2.68811714181614e43");
    check_error("round(5, -10001)", "second argument of `round`");
    check_error("round(5, 1001)", "second argument of `round`");
    check_error("factorial(sqrt(2) ^ 2)", "put it into round()");
}

#[test]
fn ten_thousand_digits_and_not_one_more() {
    let nines = "9".repeat(9_990);
    let digits = |expression: &str| calculate(expression).map(|digits| digits.len());
    assert_eq!(digits("9.9e9999"), Ok(10_000));
    assert_eq!(digits(&format!("{nines}e10")), Ok(10_000));
    assert_eq!(digits("10^9999 * 9 + (10^9999 - 1)"), Ok(10_000));
    check("1e-9999", "1e-9999");
    check_error(&format!("{nines}e11"), "at most 10000 digits");
    check_error(&format!("{nines}e10000"), "at most 10000 digits");
    check_error("1e10000", "at most 10000 digits");
    check_error("1e-10000", "at most 10000 digits");
    check_error("10^10000", "at most 10000 digits");
    check_error("10^9999 * 9 + 10^9999", "at most 10000 digits");
    check_error("round(1e9998 / 3, 1000)", "at most 10000 digits");
}

#[test]
fn what_has_no_value_says_why() {
    check_error("1 / 0", "division by zero");
    check_error("1 % (2 - 2)", "division by zero");
    check_error("0 ^ -1", "division by zero");
    check_error("sqrt(-1)", "negative");
    check_error("(-8) ^ (1/3)", "negative");
    check_error("ln(0)", "above 0");
    check_error("asin(2)", "-1 to 1");
    check_error("tan(pi / 2)", "tan has no value");
    check_error("log(5, 1)", "base");
    check_error("factorial(1.5)", "whole");
    check_error("factorial(-1)", "whole numbers from 0");
    check_error("exp(1000)", "too large");
    check_error("10^400 + pi", "too large");
}

#[test]
fn nonsense_is_pointed_at() {
    check_error("", "empty");
    check_error("  ", "empty");
    check_error("2 +", "ends where");
    check_error("(1 + 2", "ends where");
    check_error("1 + 2)", "unexpected `)` at character 6");
    check_error("2 + * 3", "unexpected `*` at character 5");
    check_error("2 (3)", "unexpected `(` at character 3: an operator");
    check_error("1,000", "never thousands");
    check_error("20%", "ends where");
    check_error("x + 1", "`x` is not known");
    check_error("sin(1, 2)", "a function of one number");
    check_error("sqrt()", "a function of one number");
    check_error("sin 1", "`sin` is used with parentheses");
    check_error("1 = 1", "equation");
    check_error("import os", "`import` is not known");
    check_error("1; 2", "unexpected `;` at character 2");
    check_error("\u{1b}[31m", "unexpected `\\u{1b}`");
    check_error("ππ", "`ππ` is not known");
}

#[test]
fn hostile_sizes_are_refused_at_once() {
    check_error("9^9^9^9", "too large");
    check_error("9^-9^9^9", "too large");
    check_error("(1/3)^99999999999999999999999", "too large");
    check_error("1e999999999", "exponent");
    check_error("1e99999999999999999999999999", "exponent");
    check_error("factorial(factorial(20))", "whole numbers from 0");
    check_error(&"(".repeat(100_000), "too long");
    check_error(&format!("{}1{}", "(".repeat(33), ")".repeat(33)), "nest 33 deep");
    check_error(&"2^".repeat(65), "powers");
    check_error(&format!("{}1", "1+".repeat(6_000)), "too long");
    check_error(&vec!["(9^9999/7^9999)"; 600].join("+"), "powers");
    check_error(&vec!["9^9000"; 60].join("*"), "too large");
    check_error(
        &format!("max({})", vec!["1e9999"; 1_400].join(",")),
        "too much computing",
    );
    check_error(
        &vec!["factorial(3000)/factorial(2999)"; 300].join("+"),
        "too much computing",
    );
}

#[test]
fn each_function_is_charged() {
    // This many long fractions are affordable, but not with a function applied to each.
    let many = |function: &str| format!("max({})", vec![format!("{function}(0.5+1/(1e9990+7))"); 120].join(","));
    check(&many("0*"), "0");
    for function in [
        "sqrt", "cbrt", "sin", "cos", "tan", "asin", "acos", "exp", "ln", "log", "log2", "floor", "round",
    ] {
        match calculate(&many(function)) {
            Err(message) => assert!(message.contains("too much computing"), "{function}: {message}"),
            Ok(value) => panic!("{function}: {value}"),
        }
    }
    // The number of powers is limited already. A root of a high degree costs as much as many multiplications.
    check_error("1e9990^(1/61)", "too much computing");
}

#[test]
fn the_deepest_allowed_recursion_fits_a_small_stack() {
    // Each level takes one frame per precedence. The guest has 512 KiB; frames of a debug build are larger than in release.
    let open = "1 + 2 * -3 ^ min(".repeat(32);
    let expression = format!("{open}1{}", ")".repeat(32));
    let signs = format!("{}1", "-".repeat(9_000));
    let powers = format!("1{}", "^-1".repeat(64));
    let run = move || [expression, signs, powers].map(|expression| calculate(&expression).is_ok());
    let results = std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(run)
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(results, [true, true, true]);
}
