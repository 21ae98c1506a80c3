//! `textdiff [--context N] OLD NEW`: prints a unified diff of two texts, which are arguments. Like `diff`, it exits with 0 if they
//! are the same, with 1 if they differ and with 2 if it was called wrongly.

use std::process::ExitCode;

use similar::TextDiff;

fn main() -> ExitCode {
    let mut context = 3;
    let mut texts = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--context" => match arguments.next().and_then(|number| number.parse().ok()) {
                Some(number) => context = number,
                None => return usage("--context needs a number"),
            },
            "--" => texts.extend(arguments.by_ref()),
            option if option.starts_with('-') => return usage(&format!("unknown option {option}")),
            _ => texts.push(argument),
        }
    }
    let [old, new] = &texts[..] else {
        return usage("two texts are needed");
    };
    let diff = TextDiff::from_lines(old.as_str(), new.as_str());
    print!("{}", diff.unified_diff().context_radius(context).header("old", "new"));
    ExitCode::from(u8::from(old != new))
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("textdiff: {problem}");
    ExitCode::from(2)
}
