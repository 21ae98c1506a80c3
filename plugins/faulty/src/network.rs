//! Network misuse, and legitimate requests that a host must be able to refuse.

use std::net::{TcpStream, ToSocketAddrs};

use serde_json::{Value, json};
use support::http::{Fault, Request, send, split};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
    http_error_code,
};
use wasip2::io::streams::StreamError;

use crate::{Outcome, number, size, string};

/// More than a host should allow.
const MAX_BODY_BYTES: usize = 1 << 30;
/// A longer body is counted but not shown.
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

/// The host masks secrets in results. Bytes are therefore written as hex digits, so that a test sees what the guest saw.
pub fn fetch_raw(input: &Value) -> Outcome {
    let exchanged = ask(input).map(|response| {
        let headers = entries(&response.headers());
        let status = response.status();
        match response.consume() {
            Ok(body) => {
                let (bytes, error) = read_until_it_ends(&body);
                json!({ "status": status, "headers": headers, "body": hex(&bytes), "error": error, "trailers": trailers(body) })
            }
            Err(()) => json!({ "status": status, "headers": headers, "error": "no body" }),
        }
    });
    crate::json(&exchanged.unwrap_or_else(|error| json!({ "error": error })))
}

fn ask(input: &Value) -> Result<IncomingResponse, String> {
    let method = method(string(input, "method", "GET"));
    let headers = input["headers"].as_object().into_iter().flatten();
    let headers = headers.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().as_bytes().to_vec()));
    let headers = Fields::from_list(&headers.collect::<Vec<_>>()).map_err(|error| format!("{error:?}"))?;
    let request = outgoing(string(input, "url", ""), &method, headers)?;
    let options = RequestOptions::new();
    if let Some(pause) = input["between_bytes_ms"].as_u64() {
        let set = options.set_between_bytes_timeout(Some(pause.saturating_mul(1_000_000)));
        set.map_err(|()| "no such option".to_owned())?;
    }
    let pending = outgoing_handler::handle(request, Some(options)).map_err(|code| format!("{code:?}"))?;
    pending.subscribe().block();
    match pending.get() {
        Some(Ok(answer)) => answer.map_err(|code| format!("{code:?}")),
        other => Err(format!("{:?}", other.is_some())),
    }
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        other => Method::Other(other.to_owned()),
    }
}

/// Everything received, and the error that ended it, if any.
fn read_until_it_ends(body: &IncomingBody) -> (Vec<u8>, Option<String>) {
    let mut bytes = Vec::new();
    let Ok(stream) = body.stream() else {
        return (bytes, Some("no stream".to_owned()));
    };
    loop {
        match stream.blocking_read(MAX_SHOWN_BYTES as u64) {
            Ok(piece) => bytes.extend(piece),
            Err(StreamError::Closed) => return (bytes, None),
            Err(StreamError::LastOperationFailed(error)) => {
                let known = http_error_code(&error).map(|code| format!("{code:?}"));
                return (bytes, Some(known.unwrap_or_else(|| error.to_debug_string())));
            }
        }
    }
}

fn trailers(body: IncomingBody) -> Value {
    let pending = IncomingBody::finish(body);
    pending.subscribe().block();
    match pending.get() {
        Some(Ok(Ok(Some(fields)))) => entries(&fields),
        _ => Value::Null,
    }
}

fn entries(fields: &Fields) -> Value {
    let entries = fields.entries().into_iter();
    entries
        .map(|(name, value)| json!([hex(name.as_bytes()), hex(&value)]))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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

/// Sends a request with a body, written in pieces: while the host sends it or, if `before_handle` is set, before it begins to.
pub fn upload(input: &Value) -> Outcome {
    crate::json(&try_upload(input).unwrap_or_else(|error| json!({ "error": error })))
}

fn try_upload(input: &Value) -> Result<Value, String> {
    let headers = Fields::new();
    if let Some(length) = input["announced"].as_u64() {
        let set = headers.append("content-length", length.to_string().as_bytes());
        set.map_err(|error| format!("{error:?}"))?;
    }
    let request = outgoing(
        string(input, "url", ""),
        &method(string(input, "method", "POST")),
        headers,
    )?;
    let body = request.body().map_err(|()| "no body".to_owned())?;
    let handle = |request| outgoing_handler::handle(request, None).map_err(|code| format!("{code:?}"));
    let bytes = size(input, "bytes", 0);
    // The request needs the end of its body. If the host has given up, the response below reports it.
    let (pending, sent) = match input["before_handle"].as_bool() {
        Some(true) => {
            let sent = write(&body, bytes)?;
            let _ = OutgoingBody::finish(body, None);
            (handle(request)?, sent)
        }
        _ => {
            let pending = handle(request)?;
            let sent = write(&body, bytes).unwrap_or_else(|error| json!({ "error": error }));
            let _ = OutgoingBody::finish(body, None);
            (pending, sent)
        }
    };
    pending.subscribe().block();
    Ok(match pending.get() {
        Some(Ok(Ok(response))) => {
            let status = response.status();
            let body = response
                .consume()
                .map(|body| read_until_it_ends(&body).0)
                .unwrap_or_default();
            json!({ "sent": sent, "status": status, "body": String::from_utf8_lossy(&body) })
        }
        Some(Ok(Err(code))) => json!({ "sent": sent, "error": format!("{code:?}") }),
        other => json!({ "sent": sent, "error": format!("{:?}", other.is_some()) }),
    })
}

fn outgoing(url: &str, method: &Method, headers: Fields) -> Result<OutgoingRequest, String> {
    let parts = split(url).map_err(|fault| format!("{fault:?}"))?;
    let request = OutgoingRequest::new(headers);
    let scheme = if parts.https { Scheme::Https } else { Scheme::Http };
    request
        .set_method(method)
        .and_then(|()| request.set_scheme(Some(&scheme)))
        .and_then(|()| request.set_authority(Some(parts.authority)))
        .and_then(|()| request.set_path_with_query(Some(&parts.path_with_query)))
        .map_err(|()| "bad request".to_owned())?;
    Ok(request)
}

/// Returns the number of bytes the host accepted, or the error of the stream.
fn write(body: &OutgoingBody, bytes: usize) -> Result<Value, String> {
    let piece = [b'x'; 4096];
    let mut sent = 0;
    let stream = body.write().map_err(|()| "no stream".to_owned())?;
    while sent < bytes {
        let next = piece.len().min(bytes - sent);
        match stream.blocking_write_and_flush(&piece[..next]) {
            Ok(()) => sent += next,
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(format!("{} after {sent} bytes", error.to_debug_string()));
            }
        }
    }
    Ok(json!(sent))
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
