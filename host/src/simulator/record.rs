//! What the simulator has received, kept for tests to look at: a bounded number of requests of bounded size.

use std::collections::VecDeque;

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;

const MAX_KEPT_BYTES: usize = 64 * 1024 * 1024;

/// Headers whose values nobody may keep.
const SECRET_HEADERS: [&str; 4] = ["x-api-key", "authorization", "proxy-authorization", "cookie"];

/// A request and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedRequest {
    pub at: Timestamp,
    pub method: String,
    /// With the query.
    pub path: String,
    /// In the order received, names in lower case; the values of secret ones are `[redacted]`.
    pub headers: Vec<(String, String)>,
    /// `null` where the body was no JSON.
    pub body: Value,
    /// The index of the script's answer that was given; none where the request was refused or asked for something else.
    pub answer: Option<usize>,
    /// None: no head was sent, the connection ended or stalled.
    pub status: Option<u16>,
}

impl ReceivedRequest {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }
}

pub(super) fn visible_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let visible = |name: &str, value: &http::HeaderValue| {
        if SECRET_HEADERS.contains(&name) {
            return "[redacted]".to_owned();
        }
        String::from_utf8_lossy(value.as_bytes()).into_owned()
    };
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), visible(name.as_str(), value)))
        .collect()
}

#[derive(Debug)]
pub(super) struct Recorder {
    /// Each with its body as it came: parsed, some would take twenty times the memory.
    requests: VecDeque<(ReceivedRequest, Bytes)>,
    bytes: usize,
    capacity: usize,
}

impl Recorder {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            requests: VecDeque::new(),
            bytes: 0,
            capacity,
        }
    }

    /// Keeps a request, whose own `body` is ignored; the oldest make room for it.
    pub(super) fn keep(&mut self, request: ReceivedRequest, body: Bytes) {
        self.bytes = self.bytes.saturating_add(body.len());
        self.requests.push_back((
            ReceivedRequest {
                body: Value::Null,
                ..request
            },
            body,
        ));
        while self.requests.len() > self.capacity || self.bytes > MAX_KEPT_BYTES {
            let Some((_, freed)) = self.requests.pop_front() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(freed.len());
        }
    }

    pub(super) fn all(&self) -> Vec<ReceivedRequest> {
        let whole = |(request, body): &(ReceivedRequest, Bytes)| ReceivedRequest {
            body: serde_json::from_slice(body).unwrap_or_default(),
            ..request.clone()
        };
        self.requests.iter().map(whole).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str) -> ReceivedRequest {
        ReceivedRequest {
            at: Timestamp::UNIX_EPOCH,
            method: "GET".to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Value::Null,
            answer: None,
            status: None,
        }
    }

    fn paths(recorder: &Recorder) -> Vec<String> {
        recorder.all().into_iter().map(|request| request.path).collect()
    }

    #[test]
    fn the_newest_are_kept_within_number_and_size() {
        let mut recorder = Recorder::new(2);
        for path in ["a", "b", "c"] {
            recorder.keep(request(path), Bytes::from_static(b"1"));
        }
        assert_eq!(paths(&recorder), ["b", "c"]);
        assert_eq!(recorder.all()[0].body, Value::from(1));
        recorder.keep(request("big"), vec![b'x'; MAX_KEPT_BYTES - 1].into());
        assert_eq!(paths(&recorder), ["c", "big"]);
        recorder.keep(request("two"), Bytes::from_static(b"{}"));
        assert_eq!(paths(&recorder), ["two"]);
    }
}
