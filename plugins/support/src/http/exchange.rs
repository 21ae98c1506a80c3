//! Sends a request through the host. Child resources are dropped before their parents; otherwise the host traps.

use std::time::Duration;

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingRequest, RequestOptions, Scheme, http_error_code,
};
use wasip2::io::streams::StreamError;

use super::{Fault, Request, Response, Timeouts, split};

/// Maximum bytes read per host call.
const CHUNK: u64 = 64 * 1024;

/// Sends `request` and waits for the whole answer. The host can end the call meanwhile.
pub fn send(request: &Request) -> Result<Response, Fault> {
    let options = request.timeouts.map(options).transpose()?;
    let pending = outgoing_handler::handle(prepare(request)?, options).map_err(fault)?;
    let response = loop {
        if let Some(answer) = pending.get() {
            // The outer error means that the answer was taken before, which never happens here.
            break answer
                .map_err(|()| Fault::Failed("response already taken".to_owned()))?
                .map_err(fault)?;
        }
        pending.subscribe().block();
    };
    let (status, retry_after) = (response.status(), retry_after(&response));
    let body = response
        .consume()
        .map_err(|()| Fault::Failed("body already taken".to_owned()))?;
    Ok(Response {
        status,
        retry_after,
        body: read(&body, request.max_body_bytes)?,
    })
}

fn prepare(request: &Request) -> Result<OutgoingRequest, Fault> {
    let url = split(&request.url)?;
    let bad_url = |()| Fault::BadUrl(request.url.clone());
    let headers: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
        .collect();
    let headers = Fields::from_list(&headers).map_err(|error| Fault::Failed(format!("{error:?}")))?;
    let outgoing = OutgoingRequest::new(headers);
    let method = method(&request.method);
    outgoing
        .set_method(&method)
        .map_err(|()| Fault::Failed("HttpRequestMethodInvalid".to_owned()))?;
    outgoing
        .set_scheme(Some(if url.https { &Scheme::Https } else { &Scheme::Http }))
        .map_err(bad_url)?;
    outgoing.set_authority(Some(url.authority)).map_err(bad_url)?;
    outgoing
        .set_path_with_query(Some(&url.path_with_query))
        .map_err(bad_url)?;
    Ok(outgoing)
}

fn options(timeouts: Timeouts) -> Result<RequestOptions, Fault> {
    let nanoseconds = |time: Duration| Some(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    let options = RequestOptions::new();
    options
        .set_connect_timeout(nanoseconds(timeouts.connect))
        .and_then(|()| options.set_first_byte_timeout(nanoseconds(timeouts.first_byte)))
        .and_then(|()| options.set_between_bytes_timeout(nanoseconds(timeouts.between_bytes)))
        .map_err(|()| Fault::Failed("the host has no time-outs for requests".to_owned()))?;
    Ok(options)
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn retry_after(response: &IncomingResponse) -> Option<Duration> {
    let value = response.headers().get("retry-after").into_iter().next()?;
    std::str::from_utf8(&value)
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

fn read(body: &IncomingBody, max_bytes: usize) -> Result<Vec<u8>, Fault> {
    let stream = body
        .stream()
        .map_err(|()| Fault::Failed("body already taken".to_owned()))?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(CHUNK) {
            Ok(chunk) if bytes.len() + chunk.len() > max_bytes => return Err(Fault::TooLarge),
            Ok(chunk) => bytes.extend(chunk),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => {
                let unknown = || Fault::Unreachable(error.to_debug_string());
                return Err(http_error_code(&error).map_or_else(unknown, fault));
            }
        }
    }
}

/// Classifies the host's errors by what a caller can do about them.
fn fault(code: ErrorCode) -> Fault {
    // Only the name: the payload of some codes is a detail of the host that doesn't help a model.
    let debug = format!("{code:?}");
    let name = debug
        .trim_start_matches("ErrorCode::")
        .split([' ', '(', '{'])
        .next()
        .unwrap_or_default()
        .to_owned();
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Fault::Denied(name),
        ErrorCode::HttpResponseBodySize(_) => Fault::TooLarge,
        ErrorCode::DnsTimeout
        | ErrorCode::DnsError(_)
        | ErrorCode::DestinationNotFound
        | ErrorCode::DestinationUnavailable
        | ErrorCode::DestinationIpUnroutable
        | ErrorCode::ConnectionRefused
        | ErrorCode::ConnectionTerminated
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::ConnectionLimitReached
        | ErrorCode::HttpResponseIncomplete
        | ErrorCode::HttpResponseTimeout
        | ErrorCode::HttpProtocolError
        | ErrorCode::InternalError(_) => Fault::Unreachable(name),
        _ => Fault::Failed(name),
    }
}
