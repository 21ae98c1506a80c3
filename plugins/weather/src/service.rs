//! Sends a request to a JSON service and classifies failures by who has to act.

use std::time::Duration;

use serde_json::Value;
use support::http::{Fault, Request, Response, Timeouts};

/// Maximum size of an answer. Real ones have about 1 KiB.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// A service that is down is `unavailable`, in words and early enough for the host to try again. A host's own deadline, 5 seconds in
/// `cofferdam tool check` and 10 elsewhere, would only say that the tool timed out.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(2),
    first_byte: Duration::from_secs(4),
    between_bytes: Duration::from_secs(4),
};

/// Why there is no weather: the three error cases of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    InvalidInput(String),
    Unavailable {
        message: String,
        retry_after: Option<Duration>,
    },
    Failed(String),
}

/// A function that sends requests.
pub trait Send: Fn(&Request) -> Result<Response, Fault> {}
impl<F: Fn(&Request) -> Result<Response, Fault>> Send for F {}

/// Gets JSON from `url`. Error messages call the service `service`.
pub fn ask(send: &impl Send, service: &str, url: String) -> Result<Value, Problem> {
    let request = Request {
        timeouts: Some(TIMEOUTS),
        ..Request::get(url, MAX_BODY_BYTES)
    };
    let response = send(&request).map_err(|fault| explain(service, fault))?;
    match response.status {
        200 => serde_json::from_slice(&response.body)
            .map_err(|error| Problem::Failed(format!("the {service} service answered with malformed JSON: {error}"))),
        status @ (429 | 500..=599) => Err(Problem::Unavailable {
            message: format!("the {service} service is not available right now (HTTP status {status})"),
            retry_after: response.retry_after,
        }),
        status => Err(Problem::Failed(format!(
            "the {service} service refused the request (HTTP status {status})"
        ))),
    }
}

fn explain(service: &str, fault: Fault) -> Problem {
    match fault {
        Fault::Unreachable(name) => Problem::Unavailable {
            message: format!("the {service} service can't be reached right now ({name})"),
            retry_after: None,
        },
        Fault::Denied(name) => Problem::Failed(format!(
            "this tool may not contact the {service} service ({name}): the operator has to grant its address to this plugin"
        )),
        Fault::BadUrl(_) => Problem::Failed(format!(
            "the configured address of the {service} service is no http or https URL: the operator has to mend it"
        )),
        Fault::TooLarge => Problem::Failed(format!("the {service} service sent more than this tool reads")),
        Fault::Failed(name) => Problem::Failed(format!("the request to the {service} service failed ({name})")),
    }
}
