//! A raw TCP server that follows a script for each connection. Unlike the simulator it knows nothing of HTTP beyond where a
//! request ends, so it can break off, stall and lie at any byte.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What a server does next on a connection.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Reads one whole request.
    Read,
    Send(Vec<u8>),
    /// Sends the same bytes until the client hangs up, each time after this delay.
    Flood(Vec<u8>, Duration),
    /// Sends one byte at a time, with this delay between them.
    Drip(Vec<u8>, Duration),
    /// Ends the connection properly.
    Fin,
    /// Ends it with a reset, which discards what the client hasn't read yet.
    Reset,
    /// Sends nothing more, and waits until the client hangs up.
    Hold,
    /// Answers a TLS handshake with a certificate that nobody trusts.
    SelfSigned,
}

/// The script of the connection with this number, counted from 0.
pub(super) type Scripts = Arc<dyn Fn(usize) -> Vec<Step> + Send + Sync>;

#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
    sent: AtomicUsize,
}

impl Server {
    /// Plays one script per connection. The last one repeats.
    pub(super) async fn playing(scripts: Vec<Vec<Step>>) -> Self {
        Self::start(Arc::new(move |number: usize| {
            scripts.get(number).or(scripts.last()).cloned().unwrap_or_default()
        }))
        .await
    }

    pub(super) async fn start(scripts: Scripts) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let counters = seen.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let number = counters.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(play(socket, scripts(number), counters.clone()));
            }
        });
        Self { address, seen, task }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// The requests that arrived whole, as text.
    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// The bytes that were handed to the system for sending.
    pub(super) fn sent(&self) -> usize {
        self.seen.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends early where the client has hung up: what it thinks of that is for the test to check.
async fn play(mut socket: TcpStream, script: Vec<Step>, seen: Arc<Seen>) {
    let _ = socket.set_nodelay(true);
    for step in script {
        let going_on = match step {
            Step::Read => read_request(&mut socket, &seen).await,
            Step::Send(bytes) => send(&mut socket, &bytes, &seen).await,
            Step::Flood(bytes, delay) => loop {
                if !send(&mut socket, &bytes, &seen).await {
                    break false;
                }
                pause(delay).await;
            },
            Step::Drip(bytes, delay) => {
                let mut open = true;
                for byte in bytes {
                    open = open && send(&mut socket, &[byte], &seen).await;
                    pause(delay).await;
                }
                open
            }
            Step::Fin => {
                let _ = socket.shutdown().await;
                drain(&mut socket).await;
                false
            }
            Step::Reset => {
                // The client should read what was sent before the reset discards it.
                tokio::time::sleep(Duration::from_millis(20)).await;
                let _ = socket.set_zero_linger();
                false
            }
            Step::Hold => {
                drain(&mut socket).await;
                false
            }
            Step::SelfSigned => {
                if let Ok(mut tls) = TlsAcceptor::from(self_signed()).accept(&mut socket).await {
                    let _ = tls.shutdown().await;
                }
                false
            }
        };
        if !going_on {
            return;
        }
    }
}

async fn pause(delay: Duration) {
    match delay.is_zero() {
        true => tokio::task::yield_now().await,
        false => tokio::time::sleep(delay).await,
    }
}

async fn send(socket: &mut TcpStream, bytes: &[u8], seen: &Seen) -> bool {
    let sent = socket.write_all(bytes).await.is_ok();
    if sent {
        seen.sent.fetch_add(bytes.len(), Ordering::SeqCst);
    }
    sent
}

/// Reads until the client hangs up.
async fn drain(socket: &mut TcpStream) {
    let mut piece = [0; 4096];
    while socket.read(&mut piece).await.is_ok_and(|read| read > 0) {}
}

async fn read_request(socket: &mut TcpStream, seen: &Seen) -> bool {
    let mut request = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        match socket.read(&mut piece).await {
            Ok(read) if read > 0 => request.extend_from_slice(&piece[..read]),
            _ => return false,
        }
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let mut lines = head.lines();
        let length = lines.find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if length.is_none_or(|length: usize| body.len() >= length) {
            seen.requests.lock().unwrap().push(text.into_owned());
            return true;
        }
    }
}

fn self_signed() -> Arc<ServerConfig> {
    const PEM: &[u8] = include_bytes!("self_signed.pem");
    let certificate = CertificateDer::from_pem_slice(PEM).unwrap();
    let key = PrivateKeyDer::from_pem_slice(PEM).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config)
}
