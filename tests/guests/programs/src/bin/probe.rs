//! `probe WHAT [VALUE]`: does what a program can do wrong, or shows what it was given.

#![allow(clippy::panic)] // One of the things to do wrong.

use std::io::{Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let what = arguments.get(1).map(String::as_str).unwrap_or_default();
    let value = arguments.get(2).cloned().unwrap_or_default();
    let number = value.parse().unwrap_or(0_usize);
    match what {
        "arguments" => println!("{arguments:?}"),
        "stdin" => {
            let mut input = Vec::new();
            if std::io::stdin().read_to_end(&mut input).is_err() || std::io::stdout().write_all(&input).is_err() {
                return ExitCode::FAILURE;
            }
        }
        "env" => println!("{:?}", std::env::vars().collect::<Vec<_>>()),
        "read" => match std::fs::read_to_string(&value) {
            Ok(text) => print!("{text}"),
            Err(error) => {
                eprintln!("{value}: {error}");
                return ExitCode::FAILURE;
            }
        },
        "print" => {
            let mut stdout = std::io::stdout().lock();
            for _ in 0..number / 1024 {
                let _ = stdout.write_all(&[b'x'; 1024]);
            }
        }
        "complain" => {
            for line in 0..number {
                eprintln!("complaint {line}");
            }
            return ExitCode::FAILURE;
        }
        "both" => {
            println!("to stdout");
            eprintln!("to stderr");
        }
        "bytes" => {
            let _ = std::io::stdout().write_all(b"a\xff\xfeb");
        }
        "silent" => return ExitCode::FAILURE,
        "exit" => std::process::exit(value.parse().unwrap_or(0)),
        "panic" => panic!("{value}"),
        "loop" => loop {
            std::hint::black_box(&arguments);
        },
        "allocate" => {
            let mut held = Vec::new();
            loop {
                held.push(std::hint::black_box(vec![1_u8; 1 << 20]));
            }
        }
        other => {
            eprintln!("probe: what is `{other}`?");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
