//! Records the requests the simulator has received, bounded in number and size.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::messages_api::headers::API_KEY;

const MAX_KEPT_BYTES: usize = 64 * 1024 * 1024;

/// A larger body of a refused request is dropped.
const MAX_REFUSED_BYTES: usize = 1024 * 1024;

/// Headers whose values are redacted.
const SECRET_HEADERS: [&str; 4] = [API_KEY, "authorization", "proxy-authorization", "cookie"];

/// A request and how it was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedRequest {
    pub at: Timestamp,
    pub method: String,
    /// Including the query.
    pub path: String,
    /// In the order received, names in lower case. The values of secret headers are `[redacted]`.
    pub headers: Vec<(String, String)>,
    /// `null` if the body isn't JSON, or if the request was refused and its body is larger than 1 MiB.
    pub body: Value,
    /// Size of the received body; zero if it was too large to be read.
    pub body_bytes: usize,
    /// Index of the script's answer. `None` if the request was refused or didn't go to `/v1/messages`.
    pub answer: Option<usize>,
    /// `None` if no response head was sent: the connection was ended or stalled.
    pub status: Option<u16>,
}

impl ReceivedRequest {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    fn is_refused(&self) -> bool {
        self.answer.is_none() && self.status.is_none_or(|status| status >= 400)
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

/// A stored request. The body stays as raw bytes, because parsed it can take twenty times the memory.
#[derive(Debug)]
struct StoredRequest {
    /// Its `body` is `Null`.
    request: ReceivedRequest,
    body: Bytes,
}

impl StoredRequest {
    fn new(mut request: ReceivedRequest, body: &[u8]) -> Self {
        request.body = Value::Null;
        request.body_bytes = body.len();
        let drops_body = request.is_refused() && body.len() > MAX_REFUSED_BYTES;
        Self {
            request,
            // Copied to its exact size: the read buffer may have up to twice the capacity.
            body: Bytes::copy_from_slice(if drops_body { &[] } else { body }),
        }
    }

    fn received(&self) -> ReceivedRequest {
        ReceivedRequest {
            body: serde_json::from_slice(&self.body).unwrap_or_default(),
            ..self.request.clone()
        }
    }

    /// Approximate memory use in bytes.
    fn bytes(&self) -> usize {
        let own = [size_of::<Self>(), self.request.path.len(), self.body.len()];
        let headers = self.request.headers.iter();
        let headers = headers.map(|(name, value)| size_of::<(String, String)>() + name.len() + value.len());
        own.into_iter().chain(headers).fold(0, usize::saturating_add)
    }
}

/// Stores the newest requests and notifies watchers.
#[derive(Debug)]
pub(super) struct Recorder {
    stored: Arc<Mutex<StoredRequests>>,
    /// Signals new requests. Dropped with the simulator.
    updates: watch::Sender<()>,
}

impl Recorder {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            stored: Arc::new(Mutex::new(StoredRequests {
                requests: VecDeque::new(),
                evicted: 0,
                bytes: 0,
                capacity,
            })),
            updates: watch::Sender::new(()),
        }
    }

    /// Stores a request with `body` (its own `body` is ignored), evicting the oldest if necessary.
    pub(super) fn keep(&self, request: ReceivedRequest, body: &[u8]) {
        let stored = StoredRequest::new(request, body);
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).push(stored);
        self.updates.send_replace(());
    }

    pub(super) fn all(&self) -> Vec<ReceivedRequest> {
        // Parse after releasing the lock, so that the server doesn't wait.
        let stored = self
            .stored
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .requests
            .clone();
        stored.iter().map(|stored| stored.received()).collect()
    }

    pub(super) fn watch(&self) -> Watcher {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        Watcher {
            stored: Arc::clone(&self.stored),
            updates: self.updates.subscribe(),
            next: stored.evicted.saturating_add(stored.requests.len() as u64),
        }
    }
}

#[derive(Debug)]
struct StoredRequests {
    requests: VecDeque<Arc<StoredRequest>>,
    /// Number of requests evicted so far.
    evicted: u64,
    bytes: usize,
    capacity: usize,
}

impl StoredRequests {
    fn push(&mut self, stored: StoredRequest) {
        self.bytes = self.bytes.saturating_add(stored.bytes());
        self.requests.push_back(Arc::new(stored));
        while self.requests.len() > self.capacity || self.bytes > MAX_KEPT_BYTES {
            let Some(oldest) = self.requests.pop_front() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
            self.evicted = self.evicted.saturating_add(1);
        }
    }

    /// The oldest stored request with at least this sequence number, and the next sequence number.
    fn oldest_from(&self, number: u64) -> Option<(Arc<StoredRequest>, u64)> {
        let index = number.saturating_sub(self.evicted);
        let stored = self.requests.get(usize::try_from(index).ok()?)?;
        Some((Arc::clone(stored), self.evicted.saturating_add(index).saturating_add(1)))
    }
}

/// Yields the requests to a simulator in order. It buffers none itself, so it misses requests that the simulator evicted
/// before they were received here.
#[derive(Debug)]
pub struct Watcher {
    stored: Arc<Mutex<StoredRequests>>,
    updates: watch::Receiver<()>,
    next: u64,
}

impl Watcher {
    /// Waits for the next request. `None`: the simulator has stopped, and no more will come.
    pub async fn recv(&mut self) -> Option<ReceivedRequest> {
        loop {
            let found = {
                let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
                stored.oldest_from(self.next)
            };
            if let Some((stored, next)) = found {
                self.next = next;
                return Some(stored.received());
            }
            self.updates.changed().await.ok()?;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn request(path: &str) -> ReceivedRequest {
        ReceivedRequest {
            at: Timestamp::UNIX_EPOCH,
            method: "GET".to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Value::Null,
            body_bytes: 0,
            answer: Some(0),
            status: Some(200),
        }
    }

    fn paths(recorder: &Recorder) -> Vec<String> {
        recorder.all().into_iter().map(|request| request.path).collect()
    }

    fn stored_bytes(recorder: &Recorder) -> usize {
        recorder.stored.lock().unwrap().bytes
    }

    #[test]
    fn the_oldest_requests_are_evicted_by_number_and_size() {
        let recorder = Recorder::new(2);
        for path in ["a", "b", "c"] {
            recorder.keep(request(path), b"");
        }
        assert_eq!(paths(&recorder), ["b", "c"]);
        let small = stored_bytes(&recorder) / 2;
        recorder.keep(request("d"), &vec![b'x'; MAX_KEPT_BYTES - 2 * small]);
        assert_eq!(paths(&recorder), ["c", "d"]);
        assert_eq!(stored_bytes(&recorder), MAX_KEPT_BYTES);
        recorder.keep(request("e"), b"");
        assert_eq!(paths(&recorder), ["d", "e"]);
        // The next one fills the limit, so the headers of the last leave no room for both.
        let mut last = request("f");
        last.headers.push(("x".to_owned(), "y".to_owned()));
        recorder.keep(request("d"), &vec![b'x'; MAX_KEPT_BYTES - 2 * small]);
        recorder.keep(last, b"");
        assert_eq!(paths(&recorder), ["f"]);
        assert!(stored_bytes(&recorder) < 1024, "{}", stored_bytes(&recorder));
    }

    #[test]
    fn a_body_is_stored_raw_and_parsed_on_request() {
        let recorder = Recorder::new(10);
        let zeros = format!("[0{}]", ",0".repeat(10_000));
        recorder.keep(
            ReceivedRequest {
                body: serde_json::from_str(&zeros).unwrap(),
                ..request("a")
            },
            zeros.as_bytes(),
        );
        let received = recorder.all().remove(0);
        assert_eq!(received.body.as_array().map(Vec::len), Some(10_001));
        assert_eq!(received.body_bytes, zeros.len());
        let stored = Arc::clone(&recorder.stored.lock().unwrap().requests[0]);
        assert_eq!((&stored.request.body, stored.body.len()), (&Value::Null, zeros.len()));

        recorder.keep(request("b"), b"{\"half\": ");
        let received = recorder.all().remove(1);
        assert_eq!((received.body, received.body_bytes), (Value::Null, 9));
    }

    #[test]
    fn a_large_body_of_a_refused_request_is_dropped() {
        let recorder = Recorder::new(10);
        let text = |length: usize| json!("x".repeat(length - 2)).to_string();
        // A scripted error isn't a refusal, and neither is a successful request without an answer of the script.
        for (answer, status, bytes) in [
            (None, 400, MAX_REFUSED_BYTES),
            (None, 400, MAX_REFUSED_BYTES + 1),
            (Some(0), 400, MAX_REFUSED_BYTES + 1),
            (None, 200, MAX_REFUSED_BYTES + 1),
        ] {
            let request = ReceivedRequest {
                answer,
                status: Some(status),
                ..request("a")
            };
            recorder.keep(request, text(bytes).as_bytes());
        }
        let requests = recorder.all();
        let stored: Vec<_> = requests.iter().map(|request| request.body.is_string()).collect();
        assert_eq!(stored, [true, false, true, true]);
        assert_eq!(requests[1].body_bytes, MAX_REFUSED_BYTES + 1);
    }

    #[tokio::test]
    async fn a_watcher_sees_new_requests_and_misses_evicted_ones() {
        let recorder = Recorder::new(2);
        recorder.keep(request("before"), b"");
        let mut watcher = recorder.watch();
        for path in ["a", "b", "c", "d"] {
            recorder.keep(request(path), b"1");
        }
        // "a" and "b" were evicted; the watcher doesn't buffer them.
        assert_eq!(watcher.recv().await.unwrap().path, "c");
        assert_eq!(watcher.recv().await.unwrap().path, "d");
        let (next, ()) = tokio::join!(watcher.recv(), async { recorder.keep(request("e"), b"7") });
        let next = next.unwrap();
        assert_eq!((next.path.as_str(), next.body), ("e", json!(7)));
        drop(recorder);
        assert_eq!(watcher.recv().await, None);
    }
}
