//! What the simulator has received, kept for tests to look at: a bounded number of requests of bounded size.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::messages_api::headers::API_KEY;

const MAX_KEPT_BYTES: usize = 64 * 1024 * 1024;

/// A refused request of more bytes than this is kept without its body.
const MAX_REFUSED_BYTES: usize = 1024 * 1024;

/// Headers whose values nobody may keep.
const SECRET_HEADERS: [&str; 4] = [API_KEY, "authorization", "proxy-authorization", "cookie"];

/// A request and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedRequest {
    pub at: Timestamp,
    pub method: String,
    /// With the query.
    pub path: String,
    /// In the order received, names in lower case; the values of secret ones are `[redacted]`.
    pub headers: Vec<(String, String)>,
    /// `null` where the body was no JSON, or that of a refused request and larger than 1 MiB.
    pub body: Value,
    /// Size of the body as it came; zero where it was too large to be read.
    pub body_bytes: usize,
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

/// A request as it is kept: its body as the bytes that came, for as a value some would take twenty times the memory.
#[derive(Debug)]
struct Kept {
    /// Without its body.
    request: ReceivedRequest,
    body: Bytes,
}

impl Kept {
    fn new(mut request: ReceivedRequest, body: &[u8]) -> Self {
        request.body = Value::Null;
        request.body_bytes = body.len();
        let is_left_out = request.is_refused() && body.len() > MAX_REFUSED_BYTES;
        Self {
            request,
            // A copy of just its size: what a body was read into has room for up to twice as much.
            body: Bytes::copy_from_slice(if is_left_out { &[] } else { body }),
        }
    }

    fn received(&self) -> ReceivedRequest {
        ReceivedRequest {
            body: serde_json::from_slice(&self.body).unwrap_or_default(),
            ..self.request.clone()
        }
    }

    /// What it takes in memory, near enough.
    fn bytes(&self) -> usize {
        let own = [size_of::<Self>(), self.request.path.len(), self.body.len()];
        let headers = self.request.headers.iter();
        let headers = headers.map(|(name, value)| size_of::<(String, String)>() + name.len() + value.len());
        own.into_iter().chain(headers).fold(0, usize::saturating_add)
    }
}

/// Keeps the newest requests, and tells who watches.
#[derive(Debug)]
pub(super) struct Recorder {
    kept: Arc<Mutex<KeptRequests>>,
    /// Says that there is something new, and ends with the simulator.
    news: watch::Sender<()>,
}

impl Recorder {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            kept: Arc::new(Mutex::new(KeptRequests {
                requests: VecDeque::new(),
                forgotten: 0,
                bytes: 0,
                capacity,
            })),
            news: watch::Sender::new(()),
        }
    }

    /// Keeps a request, whose own `body` is ignored; the oldest make room for it.
    pub(super) fn keep(&self, request: ReceivedRequest, body: &[u8]) {
        let kept = Kept::new(request, body);
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        self.news.send_replace(());
    }

    pub(super) fn all(&self) -> Vec<ReceivedRequest> {
        // Parsed once the lock is free: the server must not wait for that.
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .requests
            .clone();
        kept.iter().map(|kept| kept.received()).collect()
    }

    pub(super) fn watch(&self) -> Watcher {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Watcher {
            kept: Arc::clone(&self.kept),
            news: self.news.subscribe(),
            next: kept.forgotten.saturating_add(kept.requests.len() as u64),
        }
    }
}

#[derive(Debug)]
struct KeptRequests {
    requests: VecDeque<Arc<Kept>>,
    /// How many came before the oldest of them.
    forgotten: u64,
    bytes: usize,
    capacity: usize,
}

impl KeptRequests {
    fn push(&mut self, kept: Kept) {
        self.bytes = self.bytes.saturating_add(kept.bytes());
        self.requests.push_back(Arc::new(kept));
        while self.requests.len() > self.capacity || self.bytes > MAX_KEPT_BYTES {
            let Some(oldest) = self.requests.pop_front() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
            self.forgotten = self.forgotten.saturating_add(1);
        }
    }

    /// The oldest request kept that is not older than this one, counted from the first ever, and the number behind it.
    fn oldest_from(&self, number: u64) -> Option<(Arc<Kept>, u64)> {
        let index = number.saturating_sub(self.forgotten);
        let kept = self.requests.get(usize::try_from(index).ok()?)?;
        Some((Arc::clone(kept), self.forgotten.saturating_add(index).saturating_add(1)))
    }
}

/// The requests to a simulator, one after the other. It keeps none of them itself: who is so far behind that the
/// simulator has let requests go misses those.
#[derive(Debug)]
pub struct Watcher {
    kept: Arc<Mutex<KeptRequests>>,
    news: watch::Receiver<()>,
    next: u64,
}

impl Watcher {
    /// The next request, as soon as it has come. None: the simulator has ended, and there will be no more.
    pub async fn recv(&mut self) -> Option<ReceivedRequest> {
        loop {
            let found = {
                let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.oldest_from(self.next)
            };
            if let Some((kept, next)) = found {
                self.next = next;
                return Some(kept.received());
            }
            self.news.changed().await.ok()?;
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

    fn held(recorder: &Recorder) -> usize {
        recorder.kept.lock().unwrap().bytes
    }

    #[test]
    fn the_newest_are_kept_within_number_and_size() {
        let recorder = Recorder::new(2);
        for path in ["a", "b", "c"] {
            recorder.keep(request(path), b"");
        }
        assert_eq!(paths(&recorder), ["b", "c"]);
        let small = held(&recorder) / 2;
        recorder.keep(request("d"), &vec![b'x'; MAX_KEPT_BYTES - 2 * small]);
        assert_eq!(paths(&recorder), ["c", "d"]);
        assert_eq!(held(&recorder), MAX_KEPT_BYTES);
        recorder.keep(request("e"), b"");
        assert_eq!(paths(&recorder), ["d", "e"]);
        // As large, but for its headers: then there is no room for both.
        let mut last = request("f");
        last.headers.push(("x".to_owned(), "y".to_owned()));
        recorder.keep(request("d"), &vec![b'x'; MAX_KEPT_BYTES - 2 * small]);
        recorder.keep(last, b"");
        assert_eq!(paths(&recorder), ["f"]);
        assert!(held(&recorder) < 1024, "{}", held(&recorder));
    }

    #[test]
    fn a_body_is_kept_as_it_came_and_becomes_a_value_for_who_asks() {
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
        let kept = Arc::clone(&recorder.kept.lock().unwrap().requests[0]);
        assert_eq!((&kept.request.body, kept.body.len()), (&Value::Null, zeros.len()));

        recorder.keep(request("b"), b"{\"half\": ");
        let received = recorder.all().remove(1);
        assert_eq!((received.body, received.body_bytes), (Value::Null, 9));
    }

    #[test]
    fn a_large_body_of_a_refused_request_is_not_kept() {
        let recorder = Recorder::new(10);
        let text = |length: usize| json!("x".repeat(length - 2)).to_string();
        // A scripted error is an answer, and counting tokens needs none.
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
        let kept: Vec<_> = requests.iter().map(|request| request.body.is_string()).collect();
        assert_eq!(kept, [true, false, true, true]);
        assert_eq!(requests[1].body_bytes, MAX_REFUSED_BYTES + 1);
    }

    #[tokio::test]
    async fn a_watcher_sees_what_comes_and_holds_nothing_back() {
        let recorder = Recorder::new(2);
        recorder.keep(request("before"), b"");
        let mut watcher = recorder.watch();
        for path in ["a", "b", "c", "d"] {
            recorder.keep(request(path), b"1");
        }
        // "a" and "b" had to go, and nobody keeps them for the watcher.
        assert_eq!(watcher.recv().await.unwrap().path, "c");
        assert_eq!(watcher.recv().await.unwrap().path, "d");
        let (next, ()) = tokio::join!(watcher.recv(), async { recorder.keep(request("e"), b"7") });
        let next = next.unwrap();
        assert_eq!((next.path.as_str(), next.body), ("e", json!(7)));
        drop(recorder);
        assert_eq!(watcher.recv().await, None);
    }
}
