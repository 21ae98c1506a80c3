//! Misdeeds on the network, or honest attempts that a host must be able to refuse.

use std::net::{TcpStream, ToSocketAddrs};

use serde_json::{Value, json};
use support::http::{Fault, Request, send};

use crate::{Outcome, number, string};

/// More than a host should let through.
const MAX_BODY_BYTES: usize = 1 << 30;
/// A longer body is counted and not shown.
const MAX_SHOWN_BYTES: usize = 64 * 1024;

pub fn fetch(input: &Value) -> Outcome {
    let mut request = Request::get(string(input, "url", ""), MAX_BODY_BYTES);
    request.method = string(input, "method", "GET").to_owned();
    if let Some(headers) = input["headers"].as_object() {
        request.headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
    }
    crate::json(&match send(&request) {
        Ok(response) => {
            let shown = response.body.get(..MAX_SHOWN_BYTES).unwrap_or(&response.body);
            json!({ "status": response.status, "bytes": response.body.len(), "body": String::from_utf8_lossy(shown) })
        }
        Err(fault) => json!({ "error": name(fault) }),
    })
}

pub fn many_http(input: &Value) -> Outcome {
    let request = Request::get(string(input, "url", ""), MAX_BODY_BYTES);
    let results: Vec<Value> = (0..number(input, "count", 0))
        .map(|_| match send(&request) {
            Ok(response) => json!(response.status),
            Err(fault) => json!(name(fault)),
        })
        .collect();
    crate::json(&json!(results))
}

pub fn sockets(input: &Value) -> Outcome {
    let port = u16::try_from(number(input, "port", 0)).unwrap_or(0);
    let connected = TcpStream::connect(("127.0.0.1", port));
    let resolved = ("localhost", port).to_socket_addrs();
    crate::json(&json!({
        "connected": connected.is_ok(),
        "connect_error": connected.err().map(|error| error.to_string()),
        "resolved": resolved.is_ok(),
        "resolve_error": resolved.err().map(|error| error.to_string()),
    }))
}

fn name(fault: Fault) -> String {
    match fault {
        Fault::BadUrl(_) => "bad URL".to_owned(),
        Fault::TooLarge => "HttpResponseBodySize".to_owned(),
        Fault::Denied(name) | Fault::Unreachable(name) | Fault::Failed(name) => name,
    }
}
