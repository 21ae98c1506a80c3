//! Sends log lines through a bounded queue to a writer thread.
//!
//! A disk can be full or hang, and a terminal user can press Ctrl-S. Neither must stop a run, so lines that can't be queued or
//! written are dropped, counted, and reported at the end. (`tracing-appender` has a similar writer, but it ignores disk errors
//! without counting them and prints its own to standard output, which is reserved for data here.)

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use super::queue::{Bounds, Queue, ServeNext};
use super::redact::scrub;

const SINK_BOUNDS: Bounds = Bounds {
    items: 64 * 1024,
    bytes: 32 * 1024 * 1024,
};

/// A writer of log lines that never waits and never fails. It masks apparent credentials in every line.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    /// The name of the file or stream, for the report.
    name: Arc<str>,
    queue: Arc<Queue<Vec<u8>>>,
    failures: Arc<Mutex<Failures>>,
}

#[derive(Debug, Default)]
struct Failures {
    lines: u64,
    last: Option<io::Error>,
}

impl Sink {
    /// Starts the writer thread.
    pub(super) fn start(name: impl Into<Arc<str>>, writer: impl Write + Send + 'static) -> io::Result<Self> {
        let sink = Self {
            name: name.into(),
            queue: Arc::new(Queue::new(SINK_BOUNDS)),
            failures: Arc::default(),
        };
        let (queue, failures) = (Arc::clone(&sink.queue), Arc::clone(&sink.failures));
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(&queue, &failures, writer))?;
        Ok(sink)
    }

    /// Waits for at most `wait` until all lines accepted so far are written.
    pub(super) fn flush_within(&self, wait: Duration) {
        self.queue.drain(wait);
    }

    /// Stops accepting lines and waits for at most `wait` until the rest is written. Returns a report if any lines were lost.
    pub(super) fn finish(&self, wait: Duration) -> Option<String> {
        self.queue.close();
        self.queue.drain(wait);
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let late = self.queue.waiting();
        let lost = self.queue.lost().saturating_add(failures.lines).saturating_add(late);
        let why = match &failures.last {
            Some(error) => error.to_string(),
            None => "it is too slow".to_owned(),
        };
        (lost > 0).then(|| format!("log lines lost for {}: {lost} ({why})", self.name))
    }
}

/// Lines that one write can have. While calls come faster than a write takes, many lines cost as much as one.
const MAX_LINES_PER_WRITE: usize = 256;

fn write_lines(queue: &Queue<Vec<u8>>, failures: &Mutex<Failures>, mut writer: impl Write) {
    // A failed write can leave part of a line in the file. The next line must not continue it.
    let mut torn = false;
    queue.consume_batches(MAX_LINES_PER_WRITE, |lines| {
        let mut text = Vec::new();
        let mut ends = Vec::with_capacity(lines.len());
        if torn {
            text.push(b'\n');
        }
        for line in lines {
            text.extend_from_slice(scrub(&String::from_utf8_lossy(&line)).as_bytes());
            ends.push(text.len());
        }
        let (written, result) = write_text(&mut writer, &text);
        torn = match result {
            Ok(()) => false,
            Err(_) if written == 0 => torn,
            Err(_) => !ends.contains(&written),
        };
        if let Err(error) = result {
            let lost = match written == text.len() {
                // The flush failed, so nobody knows.
                true => ends.len(),
                false => ends.iter().filter(|end| **end > written).count(),
            };
            let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.lines = failures.lines.saturating_add(lost as u64);
            failures.last = Some(error);
        }
        ServeNext::Yes
    });
}

/// Like `write_all` and `flush`, but also says how many bytes were written.
fn write_text(writer: &mut impl Write, text: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < text.len() {
        match writer.write(&text[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, writer.flush())
}

/// Each call writes one line, because `tracing-subscriber` writes whole lines.
impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.push(line.len(), line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_only_loses_lines_and_is_reported() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut sink = Sink::start("app.jsonl", full).unwrap();
        for _ in 0..3 {
            sink.write_all(b"line\n").unwrap();
        }
        let report = sink.finish(LONG).unwrap();
        assert!(
            report.starts_with("log lines lost for app.jsonl: 3 (No space left on device"),
            "{report}"
        );
    }

    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(bool, Vec<u8>)>>);

    impl Write for Disk {
        /// While full, it accepts three bytes before it fails.
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (full, content) = &mut *self.0.lock().unwrap();
            match (*full, bytes.len()) {
                (true, ..=3) => Err(io::ErrorKind::StorageFull.into()),
                (true, _) => {
                    content.extend(&bytes[..3]);
                    Ok(3)
                }
                (false, length) => {
                    content.extend(bytes);
                    Ok(length)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_scrubbed_and_a_torn_line_is_terminated() {
        let disk = Disk::default();
        let mut sink = Sink::start("app.jsonl", disk.clone()).unwrap();
        let mut write_while = |full: bool, line: &str| {
            disk.0.lock().unwrap().0 = full;
            sink.write_all(line.as_bytes()).unwrap();
            assert!(sink.queue.drain(LONG));
        };
        write_while(false, "key sk-ant-api03-0123456789\n");
        write_while(true, "torn\n");
        write_while(false, "whole\n");
        assert!(
            sink.finish(LONG)
                .unwrap()
                .starts_with("log lines lost for app.jsonl: 1 ")
        );
        let content = String::from_utf8(disk.0.lock().unwrap().1.clone()).unwrap();
        assert_eq!(content, "key [redacted]\ntor\nwhole\n");
    }

    #[test]
    fn lines_that_wait_together_are_written_together_and_each_lost_one_counts() {
        let lines = |count: u32| (0..count).map(|number| format!("{number}\n").into_bytes());
        let queue = Queue::new(SINK_BOUNDS);
        lines(5).for_each(|line| queue.push(line.len(), line));
        queue.close();
        // Accepts nine of ten bytes.
        let disk = Disk(Arc::new(Mutex::new((true, Vec::new()))));
        let failures = Mutex::default();
        write_lines(&queue, &failures, disk.clone());
        assert_eq!(disk.0.lock().unwrap().1, b"0\n1\n2\n3\n4");
        assert_eq!(failures.lock().unwrap().lines, 1);

        struct Counts(Arc<Mutex<u32>>);
        impl Write for Counts {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                *self.0.lock().unwrap() += 1;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let queue = Queue::new(SINK_BOUNDS);
        lines(300).for_each(|line| queue.push(line.len(), line));
        queue.close();
        let writes = Arc::new(Mutex::new(0));
        write_lines(&queue, &Mutex::default(), Counts(writes.clone()));
        assert_eq!(*writes.lock().unwrap(), 2);
    }

    #[test]
    fn a_hung_sink_does_not_block_finish() {
        struct Hangs(std::sync::mpsc::Receiver<()>);
        impl Write for Hangs {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.recv().ok();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (_go_on, gate) = std::sync::mpsc::channel();
        let mut sink = Sink::start("app.jsonl", Hangs(gate)).unwrap();
        sink.write_all(b"line\n").unwrap();
        assert_eq!(
            sink.finish(Duration::ZERO).unwrap(),
            "log lines lost for app.jsonl: 1 (it is too slow)"
        );
    }
}
