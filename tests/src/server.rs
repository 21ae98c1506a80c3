//! A loopback HTTP server that answers every request in one way, correct or not.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The reaction to every request.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Sends these bytes, then closes the connection.
    Answer(Vec<u8>),
    /// Answers the first request with these bytes. Later ones never get an answer.
    AnswerOnce(Vec<u8>),
    /// Returns the request's head as the body.
    Echo,
    /// Like `Echo`, but honours the `range` header.
    RangedEcho,
    /// Returns the request's head in two chunks. The first ends ten bytes into the credentials of `authorization`. The second
    /// has the rest and 64 KiB more or, without `continues`, never arrives.
    CutEcho { continues: bool },
    /// Sends a response head, then one byte of the body per second.
    Drip,
    /// Sends a response head and an endless body.
    Endless,
    /// Sends informational response heads (status 102) endlessly.
    Heads,
    /// Reads the request body and answers with its size in bytes.
    Swallow,
    /// Never answers.
    Silence,
}

impl Behaviour {
    /// HTTP 200 with this body.
    pub fn body(body: impl AsRef<[u8]>) -> Self {
        Self::with_headers("", body)
    }

    /// HTTP 200 with these header lines, each ended by CR LF, and this body.
    pub fn with_headers(headers: &str, body: impl AsRef<[u8]>) -> Self {
        Self::Answer(answer_of(headers, body.as_ref()))
    }

    pub fn redirect(to: &str) -> Self {
        Self::Answer(format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into_bytes())
    }
}

/// Offset of the credentials in the header `authorization`, after the scheme.
fn credentials(head: &[u8]) -> usize {
    const NAME: &str = "authorization: bearer ";
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    head.find(NAME).map_or(0, |at| at + NAME.len())
}

/// The body, or the range of it requested by the `range` header in it: `bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-COUNT`.
fn range_answer(body: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    let range = text.lines().find_map(|line| line.strip_prefix("range: bytes="));
    let Some((first, last)) = range.and_then(|range| range.split_once('-')) else {
        return answer_of("", body);
    };
    let end = body.len();
    let (first, last) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => (first, (last + 1).min(end)),
        (Ok(first), Err(_)) => (first, end),
        (Err(_), Ok(count)) => (end.saturating_sub(count), end),
        (Err(_), Err(_)) => (0, end),
    };
    let part = &body[first.min(last)..last];
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\ncontent-range: bytes {first}-{}/{end}\r\n\r\n",
        part.len(),
        last.saturating_sub(1)
    );
    [head.as_bytes(), part].concat()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn answer_of(headers: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

/// Request line and headers of every request, as received.
type Heads = Arc<Mutex<Vec<String>>>;

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    requests: Arc<AtomicU32>,
    heads: Heads,
    task: JoinHandle<()>,
}

impl HttpServer {
    pub async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicU32::new(0));
        let heads = Heads::default();
        let (counter, seen) = (requests.clone(), heads.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, behaviour.clone(), seen.clone()));
            }
        });
        Self {
            address,
            requests,
            heads,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Number of accepted connections.
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Request line and headers of every request, as received.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, behaviour: Behaviour, seen: Heads) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let first = {
        let mut seen = seen.lock().unwrap();
        seen.push(String::from_utf8_lossy(&head).into_owned());
        seen.len() == 1
    };
    let answer = match behaviour {
        Behaviour::Answer(bytes) => bytes,
        Behaviour::AnswerOnce(bytes) if first => bytes,
        Behaviour::Echo => answer_of("", &head),
        Behaviour::RangedEcho => match (range_answer(&head), head.starts_with(b"HEAD ")) {
            (answer, false) => answer,
            (mut answer, true) => {
                let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
                answer.truncate(end.map_or(answer.len(), |end| end + 4));
                answer
            }
        },
        Behaviour::CutEcho { continues } => {
            let (begin, rest) = head.split_at(credentials(&head) + 10);
            let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
            answer.extend(chunk(begin));
            if continues {
                answer.extend(chunk(&[rest, &[b'x'; 64 * 1024]].concat()));
                answer.extend(chunk(b""));
            }
            if stream.write_all(&answer).await.is_ok() {
                // Wait until the client gives up.
                let _ = stream.read_u8().await;
            }
            return;
        }
        Behaviour::Drip => return send_endless_body(&mut stream, b"x", Duration::from_secs(1)).await,
        Behaviour::Endless => return send_endless_body(&mut stream, &[b'x'; 16 * 1024], Duration::ZERO).await,
        Behaviour::Heads => {
            let head = format!("HTTP/1.1 102 Processing\r\n{}\r\n", "x-more: y\r\n".repeat(100));
            while stream.write_all(head.as_bytes()).await.is_ok() {}
            return;
        }
        Behaviour::Swallow => return count_body(&mut stream, &head).await,
        Behaviour::AnswerOnce(_) | Behaviour::Silence => {
            // Wait until the client gives up.
            let _ = stream.read_u8().await;
            return;
        }
    };
    // Ignored: a client that has read enough may be gone.
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
}

/// Sends a body of these pieces until the client disconnects.
async fn send_endless_body(stream: &mut TcpStream, piece: &[u8], pause: Duration) {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n";
    let mut written = stream.write_all(head).await;
    while written.is_ok() {
        tokio::time::sleep(pause).await;
        written = stream.write_all(piece).await;
    }
}

/// Reads a body to its end and answers with its size in bytes, including the framing of a chunked one.
async fn count_body(stream: &mut TcpStream, head: &[u8]) {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: Option<usize> = length.map(|length| length.parse().unwrap());
    let (mut bytes, mut end) = (0, Vec::new());
    let mut buffer = [0; 16 * 1024];
    while length.map_or(!end.ends_with(b"0\r\n\r\n"), |length| bytes < length) {
        match stream.read(&mut buffer).await {
            Ok(read @ 1..) => {
                bytes += read;
                end.extend_from_slice(&buffer[..read]);
                end.drain(..end.len().saturating_sub(5));
            }
            _ => return,
        }
    }
    let _ = stream.write_all(&answer_of("", bytes.to_string().as_bytes())).await;
    let _ = stream.shutdown().await;
}
