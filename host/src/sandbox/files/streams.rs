//! Streams over files. Those of `wasmtime-wasi` use a blocking thread each, for as many streams as a guest has. These wait for a
//! permit, and writes are charged to the budget.

use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use async_trait::async_trait;
use bytes::Bytes;
use wasmtime_wasi::filesystem::{Descriptor, File};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::budget::PIECE;
use super::held::Held;
use super::state::Files;
use crate::sandbox::fairness::Submitted;

/// Bytes to read ahead for a guest that waits and hasn't said how many it wants.
const READ_AHEAD: usize = 4096;

/// Submitted work, running or done.
struct Running<T>(Submitted<io::Result<T>>);

impl<T> Running<T> {
    /// The result, if the work is done. Doesn't wait.
    fn try_poll(&mut self) -> Poll<io::Result<T>> {
        self.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let done = ready!(Pin::new(&mut self.0).poll(cx)).flatten();
        Poll::Ready(done.map_err(io::Error::other).flatten())
    }

    async fn wait(&mut self) -> io::Result<T> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }
}

/// Submits work on a file. If the work is cancelled, the file is closed on a blocking thread, as usual.
fn submit<T: Send + 'static>(
    held: &Held,
    work: impl FnOnce(&std::fs::File) -> io::Result<T> + Send + 'static,
) -> Running<T> {
    let own = held.clone();
    Running(held.files().submit(move || match own.descriptor() {
        Some(Descriptor::File(file)) => work(&file.file),
        _ => Err(io::ErrorKind::NotConnected.into()),
    }))
}

/// Reads a file from an offset on.
pub(super) struct FileReader {
    held: Held,
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
    pub(super) fn new(files: &Files, file: &File, at: u64) -> Self {
        Self {
            held: Held::new(files, Descriptor::File(file.clone())),
            at,
            state: Reading::Idle,
        }
    }

    /// Starts a read, unless one is running or its bytes are still there.
    fn begin(&mut self, bytes: usize) {
        if let Reading::Idle = self.state {
            let at = self.at;
            self.state = Reading::Running(submit(&self.held, move |file| read(file, at, bytes)));
        }
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
    // Frees the unused capacity after a short read.
    buffer.shrink_to_fit();
    Ok(buffer.into())
}

#[async_trait]
impl Pollable for FileReader {
    async fn ready(&mut self) {
        self.begin(READ_AHEAD);
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
        self.begin(size);
        if let Reading::Running(running) = &mut self.state
            && let Poll::Ready(done) = running.try_poll()
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

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.begin(size);
        self.ready().await;
        self.read(size)
    }
}

/// Where a stream writes.
#[derive(Clone, Copy)]
pub(super) enum WritePosition {
    At(u64),
    End,
}

/// Writes to a file, one piece after the other.
pub(super) struct FileWriter {
    held: Held,
    position: WritePosition,
    state: Writing,
}

enum Writing {
    Idle,
    Running(Running<()>),
    Failed(io::Error),
    Ended,
}

impl FileWriter {
    pub(super) fn new(files: &Files, file: &File, position: WritePosition) -> Self {
        Self {
            held: Held::new(files, Descriptor::File(file.clone())),
            position,
            state: Writing::Idle,
        }
    }

    fn settle(&mut self, done: io::Result<()>) {
        self.state = match done {
            Ok(()) => Writing::Idle,
            Err(error) => Writing::Failed(error),
        };
    }
}

/// A write that the guest submitted is finished even if the guest doesn't wait for it.
impl Drop for FileWriter {
    fn drop(&mut self) {
        if let Writing::Running(running) = std::mem::replace(&mut self.state, Writing::Ended) {
            running.0.detach();
        }
    }
}

#[async_trait]
impl Pollable for FileWriter {
    async fn ready(&mut self) {
        if let Writing::Running(running) = &mut self.state {
            let done = running.wait().await;
            self.settle(done);
        }
    }
}

#[async_trait]
impl OutputStream for FileWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // `check_write` tells the guest when it can write, and how much.
        match self.state {
            Writing::Idle if bytes.len() <= PIECE => {}
            Writing::Ended => return Err(StreamError::Closed),
            _ => return Err(StreamError::trap("a write that was not permitted")),
        }
        if self.held.files().budget.charge(bytes.len() as u64).is_err() {
            let full = io::Error::from(io::ErrorKind::StorageFull);
            return Err(StreamError::LastOperationFailed(full.into()));
        }
        let position = self.position;
        if let WritePosition::At(at) = &mut self.position {
            *at = at.saturating_add(bytes.len() as u64);
        }
        self.state = Writing::Running(submit(&self.held, move |file| match position {
            WritePosition::At(at) => file.write_all_at(&bytes, at),
            WritePosition::End => append(file, &bytes),
        }));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        // Nothing is buffered: every write is already submitted.
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if let Writing::Running(running) = &mut self.state
            && let Poll::Ready(done) = running.try_poll()
        {
            self.settle(done);
        }
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

    /// Waits for the write in progress, so that the next reader of the file finds it.
    async fn cancel(&mut self) {
        self.ready().await;
    }
}

/// Appends atomically, even if others write to the file.
#[cfg(target_os = "linux")]
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

/// Writes at the current end. Other systems append atomically only to a file that was opened with `O_APPEND`, so a concurrent
/// write can land at the same offset.
#[cfg(not(target_os = "linux"))]
fn append(file: &std::fs::File, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, file.metadata()?.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc::{Sender, channel};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use wasmtime_wasi::filesystem::{FsPerms, OpenMode};

    use super::*;
    use crate::sandbox::files::work;

    fn files(bytes: u64) -> Files {
        Files::new(bytes, Arc::new(work()), "t".into())
    }

    fn file(text: &str) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(text.as_bytes(), 0).unwrap();
        opened(file)
    }

    fn opened(file: std::fs::File) -> File {
        File::new(file, FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE, false)
    }

    /// Submits more work than there are permits. It hangs until the `Sender` is dropped.
    fn take_all_permits(files: &Files) -> (Vec<Submitted<io::Result<()>>>, Sender<()>) {
        let (end, ended) = channel();
        let ended = Arc::new(Mutex::new(ended));
        let hangs = || {
            let ended = ended.clone();
            files.submit(move || {
                let _ = ended.lock().unwrap().recv();
                Ok(())
            })
        };
        (std::iter::repeat_with(hangs).take(100).collect(), end)
    }

    /// Waits until the condition holds.
    async fn until(condition: impl Fn() -> bool) {
        let waits = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waits).await.unwrap();
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

    /// Some guests never wait, but poll again and again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_guest_that_only_polls_makes_progress() {
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
        let mut writer = FileWriter::new(&files(10), &file, WritePosition::At(0));
        for piece in ["ab", "cd"] {
            while writer.check_write().unwrap() == 0 {
                tokio::task::yield_now().await;
            }
            writer.write(piece.into()).unwrap();
        }
        writer.ready().await;
        assert_eq!(io::read_to_string(&*file.file).unwrap(), "abcd");
    }

    #[tokio::test]
    async fn writes_are_charged_and_appended() {
        let file = file("begin ");
        let mut writer = FileWriter::new(&files(6), &file, WritePosition::End);
        for piece in ["one", "two"] {
            writer.write(piece.into()).unwrap();
            writer.ready().await;
        }
        let refused = writer.write("three".into());
        assert!(matches!(refused, Err(StreamError::LastOperationFailed(_))));
        assert_eq!(io::read_to_string(&*file.file).unwrap(), "begin onetwo");
    }

    /// The guest writes while all permits are taken, and drops the stream without waiting.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_submitted_write_survives_its_stream() {
        let file = file("");
        let files = files(10);
        let (busy, end) = take_all_permits(&files);
        let mut writer = FileWriter::new(&files, &file, WritePosition::At(0));
        writer.write("text".into()).unwrap();
        assert_eq!(writer.check_write().unwrap(), 0, "not yet");
        drop(writer);
        drop(end);
        for work in busy {
            work.await.unwrap().unwrap().unwrap();
        }
        until(|| file.file.metadata().unwrap().len() == 4).await;
        // `cancel` waits for the write.
        let mut writer = FileWriter::new(&files, &file, WritePosition::End);
        writer.write("more".into()).unwrap();
        writer.cancel().await;
        assert_eq!(io::read_to_string(&*file.file).unwrap(), "textmore");
    }

    #[tokio::test]
    async fn a_read_returns_as_much_as_requested() {
        let file = file(&"x".repeat(100_000));
        let mut reader = FileReader::new(&files(0), &file, 0);
        assert_eq!(reader.blocking_read(50_000).await.unwrap().len(), 50_000);
        assert_eq!(reader.blocking_read(1_000_000).await.unwrap().len(), 50_000);
        assert!(matches!(reader.blocking_read(1).await, Err(StreamError::Closed)));
    }

    #[tokio::test]
    async fn a_write_without_permission_traps_and_one_that_fails_reports_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "x").unwrap();
        let only_to_read = opened(std::fs::File::open(&path).unwrap());
        let mut writer = FileWriter::new(&files(1 << 20), &only_to_read, WritePosition::At(0));
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

    /// Cancelling a read closes the file with a permit on a blocking thread, not on the thread that cancels.
    #[tokio::test]
    async fn a_file_is_closed_with_a_permit() {
        let files = files(0);
        let (busy, end) = take_all_permits(&files);
        let file = file("text");
        let open = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&*file.file));
        let target = std::fs::read_link(&open).unwrap();
        let is_open = || std::fs::read_link(&open).is_ok_and(|now| now == target);
        let mut reader = FileReader::new(&files, &file, 0);
        assert!(reader.read(1).unwrap().is_empty());
        drop(file);
        drop(reader);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(is_open(), "the file is still open");
        drop(end);
        drop(busy);
        until(|| !is_open()).await;
    }
}
