//! What led to an error.

use std::error::Error;

/// The causes of an error, one after the other. Some libraries repeat a cause in their own message; it comes once.
pub fn causes(error: &dyn Error) -> impl Iterator<Item = String> {
    let mut said = error.to_string();
    let mut next = error.source();
    let chain = std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause.to_string())
    });
    chain.filter(move |cause| {
        let is_new = !said.contains(cause.as_str());
        if is_new {
            said.push_str(cause);
        }
        is_new
    })
}

/// The error with its causes, on one line.
pub fn with_causes(error: &dyn Error) -> String {
    let all: Vec<String> = std::iter::once(error.to_string()).chain(causes(error)).collect();
    all.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{message}")]
    struct Layer {
        message: &'static str,
        source: Option<Box<Self>>,
    }

    fn chain(messages: &[&'static str]) -> Layer {
        let [message, rest @ ..] = messages else { unreachable!() };
        Layer {
            message,
            source: (!rest.is_empty()).then(|| Box::new(chain(rest))),
        }
    }

    #[test]
    fn what_is_said_already_comes_once() {
        for (messages, line) in [
            (&["a file"][..], "a file"),
            (
                &["can't read", "no such file", "os error 2"],
                "can't read: no such file: os error 2",
            ),
            (
                &["can't read: no such file", "no such file", "os error 2"],
                "can't read: no such file: os error 2",
            ),
            (
                &["can't read", "no such file (os error 2)", "can't read", "os error 2"],
                "can't read: no such file (os error 2)",
            ),
        ] {
            assert_eq!(with_causes(&chain(messages)), line);
        }
    }
}
