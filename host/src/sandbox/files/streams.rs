//! Streams over files. Those of `wasmtime-wasi` begin to read and write at once, on a thread for each, as many as a guest has
//! streams; these wait for their place. What is written is charged.

use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinHandle;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::Files;
use crate::resilience::FairPlace;
use crate::sandbox::blocking::start;

/// Bytes that one read or write moves, at most.
const PIECE: usize = 64 * 1024;
/// Bytes that are read for who waits before it says how many it wants.
const FIRST_PIECE: usize = 4096;

/// Work that was begun.
struct Running<T>(JoinHandle<io::Result<T>>);

impl<T> Running<T> {
    /// Looks whether it is done, without waiting.
    fn look(&mut self) -> Poll<io::Result<T>> {
        self.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let done = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(done.map_err(io::Error::other).flatten())
    }

    async fn wait(&mut self) -> io::Result<T> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }
}

/// Reads from a place on.
pub(super) struct FileReader {
    files: Files,
    file: Arc<std::fs::File>,
    at: u64,
    state: Reading,
}

enum Reading {
    Idle,
    Running(Running<Bytes>),
    Done(io::Result<Bytes>),
    Ended,
}

impl FileReader {
    pub(super) fn new(files: &Files, file: &Arc<std::fs::File>, at: u64) -> Self {
        Self {
            files: files.clone(),
            file: file.clone(),
            at,
            state: Reading::Idle,
        }
    }

    fn begin(&mut self, place: FairPlace, bytes: usize) {
        let (file, at) = (self.file.clone(), self.at);
        self.state = Reading::Running(Running(start(place, move || read(&file, at, bytes))));
    }
}

fn read(file: &std::fs::File, at: u64, bytes: usize) -> io::Result<Bytes> {
    let mut buffer = vec![0; bytes.clamp(1, PIECE)];
    let read = loop {
        match file.read_at(&mut buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    buffer.truncate(read);
    // What a small file leaves free is not kept.
    buffer.shrink_to_fit();
    Ok(buffer.into())
}

#[async_trait]
impl Pollable for FileReader {
    async fn ready(&mut self) {
        if let Reading::Idle = self.state {
            let place = self.files.place().await;
            self.begin(place, FIRST_PIECE);
        }
        if let Reading::Running(running) = &mut self.state {
            self.state = Reading::Done(running.wait().await);
        }
    }
}

#[async_trait]
impl InputStream for FileReader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        if let Reading::Idle = self.state
            && let Some(place) = self.files.try_place()
        {
            self.begin(place, size);
        }
        if let Reading::Running(running) = &mut self.state
            && let Poll::Ready(done) = running.look()
        {
            self.state = Reading::Done(done);
        }
        match std::mem::replace(&mut self.state, Reading::Ended) {
            Reading::Done(Ok(mut bytes)) if !bytes.is_empty() => {
                let piece = bytes.split_to(size.min(bytes.len()));
                self.at += piece.len() as u64;
                self.state = match bytes.is_empty() {
                    true => Reading::Idle,
                    false => Reading::Done(Ok(bytes)),
                };
                Ok(piece)
            }
            Reading::Done(Err(error)) => Err(StreamError::LastOperationFailed(error.into())),
            Reading::Done(Ok(_)) | Reading::Ended => Err(StreamError::Closed),
            unfinished => {
                self.state = unfinished;
                Ok(Bytes::new())
            }
        }
    }
}

/// Where a stream writes.
#[derive(Clone, Copy)]
pub(super) enum Place {
    From(u64),
    End,
}

/// Writes, one piece after the other.
pub(super) struct FileWriter {
    files: Files,
    file: Arc<std::fs::File>,
    place: Place,
    state: Writing,
}

enum Writing {
    Idle,
    /// For a place.
    Waiting(Bytes),
    Running(Running<()>),
    Failed(io::Error),
    Ended,
}

impl FileWriter {
    pub(super) fn new(files: &Files, file: &Arc<std::fs::File>, place: Place) -> Self {
        Self {
            files: files.clone(),
            file: file.clone(),
            place,
            state: Writing::Idle,
        }
    }

    fn begin(&mut self, turn: FairPlace, bytes: Bytes) {
        let (file, place) = (self.file.clone(), self.place);
        if let Place::From(at) = &mut self.place {
            *at = at.saturating_add(bytes.len() as u64);
        }
        let work = move || match place {
            Place::From(at) => file.write_all_at(&bytes, at),
            Place::End => append(&file, &bytes),
        };
        self.state = Writing::Running(Running(start(turn, work)));
    }

    /// Gets on as far as that goes without waiting.
    fn look(&mut self) {
        if let Writing::Waiting(bytes) = &mut self.state
            && let Some(turn) = self.files.try_place()
        {
            let bytes = std::mem::take(bytes);
            self.begin(turn, bytes);
        }
        if let Writing::Running(running) = &mut self.state
            && let Poll::Ready(done) = running.look()
        {
            self.settle(done);
        }
    }

    fn settle(&mut self, done: io::Result<()>) {
        self.state = match done {
            Ok(()) => Writing::Idle,
            Err(error) => Writing::Failed(error),
        };
    }
}

#[async_trait]
impl Pollable for FileWriter {
    async fn ready(&mut self) {
        if let Writing::Waiting(_) = self.state {
            let turn = self.files.place().await;
            if let Writing::Waiting(bytes) = &mut self.state {
                let bytes = std::mem::take(bytes);
                self.begin(turn, bytes);
            }
        }
        if let Writing::Running(running) = &mut self.state {
            let done = running.wait().await;
            self.settle(done);
        }
    }
}

#[async_trait]
impl OutputStream for FileWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // How much may be written, and when, is told by `check_write`.
        match self.state {
            Writing::Idle if bytes.len() <= PIECE => {}
            Writing::Ended => return Err(StreamError::Closed),
            _ => return Err(StreamError::trap("a write that was not permitted")),
        }
        if self.files.budget.charge(bytes.len() as u64).is_err() {
            let full = io::Error::from(io::ErrorKind::StorageFull);
            return Err(StreamError::LastOperationFailed(full.into()));
        }
        self.state = Writing::Waiting(bytes);
        self.look();
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        // Nothing is held back: what was written is on its way.
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.look();
        match std::mem::replace(&mut self.state, Writing::Ended) {
            Writing::Idle => {
                self.state = Writing::Idle;
                Ok(PIECE)
            }
            Writing::Failed(error) => Err(StreamError::LastOperationFailed(error.into())),
            Writing::Ended => Err(StreamError::Closed),
            unfinished => {
                self.state = unfinished;
                Ok(0)
            }
        }
    }
}

/// Writes to wherever the end is, whoever else writes there.
fn append(file: &std::fs::File, mut bytes: &[u8]) -> io::Result<()> {
    use rustix::io::{ReadWriteFlags, pwritev2};
    while !bytes.is_empty() {
        match pwritev2(file, &[io::IoSlice::new(bytes)], 0, ReadWriteFlags::APPEND) {
            Err(rustix::io::Errno::INTR) => {}
            written => bytes = &bytes[written?..],
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sandbox::files::work;

    fn files(bytes: u64) -> Files {
        Files::new(bytes, work(), "t".into())
    }

    fn file(text: &str) -> Arc<std::fs::File> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(text.as_bytes(), 0).unwrap();
        Arc::new(file)
    }

    #[tokio::test]
    async fn a_file_is_read_to_its_end() {
        let mut reader = FileReader::new(&files(0), &file("0123456789"), 2);
        let mut whole = Vec::new();
        let ended = loop {
            reader.ready().await;
            match reader.read(3) {
                Ok(piece) => whole.extend_from_slice(&piece),
                Err(error) => break error,
            }
        };
        assert!(matches!(ended, StreamError::Closed));
        assert_eq!(whole, b"23456789");
    }

    /// Some guests never wait, they look again and again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn who_only_looks_gets_on_as_well() {
        let mut reader = FileReader::new(&files(0), &file("text"), 0);
        let text = loop {
            let piece = reader.read(10).unwrap();
            if !piece.is_empty() {
                break piece;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(text, "text");
        let file = file("");
        let mut writer = FileWriter::new(&files(10), &file, Place::From(0));
        for piece in ["ab", "cd"] {
            while writer.check_write().unwrap() == 0 {
                tokio::task::yield_now().await;
            }
            writer.write(piece.into()).unwrap();
        }
        writer.ready().await;
        assert_eq!(io::read_to_string(&*file).unwrap(), "abcd");
    }

    #[tokio::test]
    async fn what_is_written_is_charged_and_appended() {
        let file = file("begin ");
        let mut writer = FileWriter::new(&files(6), &file, Place::End);
        for piece in ["one", "two"] {
            writer.write(piece.into()).unwrap();
            writer.ready().await;
        }
        let refused = writer.write("three".into());
        assert!(matches!(refused, Err(StreamError::LastOperationFailed(_))));
        assert_eq!(io::read_to_string(&*file).unwrap(), "begin onetwo");
    }

    #[tokio::test]
    async fn a_write_without_leave_and_one_that_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "x").unwrap();
        let only_to_read = Arc::new(std::fs::File::open(&path).unwrap());
        let mut writer = FileWriter::new(&files(1 << 20), &only_to_read, Place::From(0));
        assert!(matches!(
            writer.write(vec![0; PIECE + 1].into()),
            Err(StreamError::Trap(_))
        ));
        writer.write("y".into()).unwrap();
        assert!(
            matches!(writer.write("z".into()), Err(StreamError::Trap(_))),
            "too early"
        );
        writer.ready().await;
        assert!(matches!(writer.check_write(), Err(StreamError::LastOperationFailed(_))));
        assert!(matches!(writer.check_write(), Err(StreamError::Closed)));
    }
}
