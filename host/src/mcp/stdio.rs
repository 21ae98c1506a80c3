//! The protocol over two byte streams: one JSON-RPC message per line.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rmcp::model::{ClientRequest, JsonRpcMessage, ProtocolVersion};
use rmcp::service::{RxJsonRpcMessage, ServerInitializeError, TxJsonRpcMessage, serve_server_with_ct};
use rmcp::transport::Transport;
use rmcp::transport::io::stdio_pipes;
use rmcp::{RoleServer, ServerHandler as _};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::arrival::{Calls, END_TIMEOUT, InOrder, MAX_CALLS_PER_CLIENT};
use super::fault::{Fault, First};
use super::server::McpServer;
use super::write_timeout::{WRITE_TIMEOUT, WriteTimeout};

/// The longest message: an input of the largest size that can be configured, with room for its escapes.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

impl McpServer {
    /// Serves one client over this process's stdin and stdout, until the client closes stdin, doesn't read its answers for a
    /// minute, or `cancel` is cancelled. Calls that still run get a few seconds to end, and are then cancelled.
    ///
    /// # Errors
    ///
    /// The client's first request is one that no revision of the protocol begins with.
    pub async fn serve_stdio(&self, cancel: CancellationToken) -> Result<(), ServerInitializeError> {
        let (input, output) = stdio_pipes();
        self.serve_streams(input, WriteTimeout::new(output, WRITE_TIMEOUT), cancel)
            .await
    }

    pub(super) async fn serve_streams(
        &self,
        input: impl AsyncRead + Send + Unpin + 'static,
        output: impl AsyncWrite + Send + Unpin + 'static,
        cancel: CancellationToken,
    ) -> Result<(), ServerInitializeError> {
        let calls = Calls::default();
        let connection = self.connection(true, cancel.clone());
        let lines = Lines::new(input, output, calls.clone(), connection.supported_protocol_versions());
        let running = match serve_server_with_ct(connection, lines, cancel).await {
            Ok(running) => running,
            // The client left before it asked for anything.
            Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => return Ok(()),
            Err(error) => return Err(error),
        };
        // An error is a panic of the library's task, and the connection is over all the same.
        let _ = running.waiting().await;
        // Calls that were cancelled still report their end.
        calls.idle(END_TIMEOUT).await;
        Ok(())
    }
}

/// Reads and writes messages. Unlike the library's own transport it answers what isn't a message, and numbers the calls.
struct Lines<R, W> {
    input: BufReader<R>,
    line: Vec<u8>,
    /// Whether the rest of a line that is too long is being skipped.
    skipping: bool,
    /// The revisions of the protocol that the server has.
    versions: Cow<'static, [ProtocolVersion]>,
    /// Whether the client has begun the connection. What isn't a request is ignored before.
    begun: bool,
    output: Arc<Mutex<Option<W>>>,
    /// Cancelled when a message couldn't be written, because the rest would make no sense to the client, and at the end.
    closed: CancellationToken,
    unwritten: Arc<Unwritten>,
    /// An answer to something that wasn't a message. It is written before the next line is read.
    answering: Option<JoinHandle<io::Result<()>>>,
    arrivals: InOrder,
}

/// Messages that the client hasn't read yet. While there are too many, nothing more is read from it: what it asks for would
/// only pile up.
#[derive(Default)]
struct Unwritten {
    count: AtomicUsize,
    written: Notify,
}

/// Messages that may wait for the client to read them.
const MAX_UNWRITTEN: usize = 2 * MAX_CALLS_PER_CLIENT;

impl Unwritten {
    async fn fit(&self) {
        loop {
            let written = self.written.notified();
            if self.count.load(Ordering::Acquire) < MAX_UNWRITTEN {
                return;
            }
            written.await;
        }
    }
}

/// Counts one message until it is written or given up.
struct Waiting(Arc<Unwritten>);

impl Waiting {
    fn new(unwritten: &Arc<Unwritten>) -> Self {
        unwritten.count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(unwritten))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.written.notify_one();
    }
}

enum Line {
    Whole,
    TooLong,
    End,
}

impl<R, W> Lines<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    fn new(input: R, output: W, calls: Calls, versions: Cow<'static, [ProtocolVersion]>) -> Self {
        Self {
            input: BufReader::new(input),
            line: Vec::new(),
            skipping: false,
            versions,
            begun: false,
            output: Arc::new(Mutex::new(Some(output))),
            closed: CancellationToken::new(),
            unwritten: Arc::default(),
            answering: None,
            arrivals: InOrder::new(calls),
        }
    }

    /// Reads up to the end of a line into `line`. Dropping the future loses nothing.
    async fn read_line(&mut self) -> io::Result<Line> {
        loop {
            let buffered = self.input.fill_buf().await?;
            if buffered.is_empty() {
                return Ok(Line::End);
            }
            let end = memchr(buffered);
            let taken = end.map_or(buffered.len(), |end| end + 1);
            let too_long = self.line.len() + taken > MAX_MESSAGE_BYTES;
            if !self.skipping && !too_long {
                self.line.extend_from_slice(&buffered[..taken]);
            }
            self.input.consume(taken);
            let was_skipping = self.skipping;
            self.skipping = (was_skipping || too_long) && end.is_none();
            if too_long && !was_skipping {
                self.line.clear();
                return Ok(Line::TooLong);
            }
            if end.is_some() && !was_skipping {
                return Ok(Line::Whole);
            }
        }
    }

    /// Answers what isn't a message, or not now.
    fn answer(&mut self, fault: &Fault) {
        self.answering = Some(tokio::spawn(self.send_line(serde_json::to_vec(&fault.answer()))));
    }

    fn send_line(
        &self,
        line: serde_json::Result<Vec<u8>>,
    ) -> impl Future<Output = io::Result<()>> + Send + use<R, W> + 'static {
        let (output, waiting) = (Arc::clone(&self.output), Waiting::new(&self.unwritten));
        let closed = self.closed.clone();
        async move {
            let _waiting = waiting;
            let mut line = line?;
            line.push(b'\n');
            let mut output = output.lock().await;
            let Some(writer) = output.as_mut() else {
                return Err(io::ErrorKind::NotConnected.into());
            };
            let written = tokio::select! {
                biased;
                written = write(writer, &line) => written,
                () = closed.cancelled() => Err(io::ErrorKind::BrokenPipe.into()),
            };
            if written.is_err() {
                *output = None;
                closed.cancel();
            }
            written
        }
    }

    /// A message, or the reason why the line isn't one. A call is counted here, before the library starts its task.
    fn parse(&mut self) -> Result<Option<RxJsonRpcMessage<RoleServer>>, Fault> {
        let line = std::mem::take(&mut self.line);
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        let mut message = serde_json::from_slice(&line).map_err(|_| Fault::of(&line))?;
        match &mut message {
            JsonRpcMessage::Request(request) => {
                if !self.begun {
                    let id = serde_json::to_value(&request.id).unwrap_or_default();
                    match First::of(&request.request, id, &self.versions) {
                        First::Begins => self.begun = true,
                        First::Answered => {}
                        First::Wrong(fault) => return Err(fault),
                    }
                }
                if let ClientRequest::CallToolRequest(call) = &mut request.request {
                    call.extensions.insert(self.arrivals.arrive());
                }
            }
            _ if !self.begun => return Ok(None),
            _ => {}
        }
        Ok(Some(message))
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), line: &[u8]) -> io::Result<()> {
    writer.write_all(line).await?;
    writer.flush().await
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

impl<R, W> Transport<RoleServer> for Lines<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    type Error = io::Error;

    fn send(&mut self, message: TxJsonRpcMessage<RoleServer>) -> impl Future<Output = io::Result<()>> + Send + 'static {
        self.send_line(serde_json::to_vec(&message))
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        let closed = self.closed.clone();
        tokio::select! {
            () = closed.cancelled() => None,
            message = self.next_message() => message,
        }
    }

    /// Gives up what is still being written: the library has waited for it.
    async fn close(&mut self) -> io::Result<()> {
        self.closed.cancel();
        self.output.lock().await.take();
        Ok(())
    }
}

impl<R, W> Lines<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    /// The next message, or `None` once the client has left. Dropping the future loses nothing.
    async fn next_message(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            if let Some(answering) = &mut self.answering {
                let written = answering.await;
                self.answering = None;
                if !matches!(written, Ok(Ok(()))) {
                    return None;
                }
            }
            self.unwritten.fit().await;
            match self.read_line().await {
                Ok(Line::Whole) => match self.parse() {
                    Ok(Some(message)) => return Some(message),
                    Ok(None) => {}
                    Err(fault) => self.answer(&fault),
                },
                Ok(Line::TooLong) => self.answer(&Fault::invalid("the message is longer than 16 MiB")),
                Ok(Line::End) | Err(_) => return None,
            }
        }
    }
}
