//! What a command has beyond a plugin: arguments of its call, and standard streams of its own.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::failure::Stopped;
use super::output::Receive;
use crate::sandbox::contract::Invocation;
use crate::sandbox::fairness::MemoryShare;
use crate::sandbox::http::Masker;
use crate::sandbox::logging::GuestLog;

/// Bytes of the end of standard error that the model reads when a command fails.
pub(super) const TAIL_BYTES: usize = 4 * 1024;

/// The arguments and streams of one call of a command.
#[derive(Debug)]
pub(super) struct Program {
    /// With the name of the program.
    pub(super) arguments: Vec<String>,
    pub(super) stdin: Bytes,
    pub(super) stdout: Captured,
    pub(super) tail: Tail,
}

impl Program {
    pub(super) fn new(
        name: &str,
        granted: &[String],
        invocation: Invocation,
        output_bytes: u64,
        share: MemoryShare,
        masker: Masker,
    ) -> Self {
        let before = std::iter::once(name.to_owned()).chain(granted.iter().cloned());
        Self {
            arguments: before.chain(invocation.arguments).collect(),
            stdin: invocation.stdin.into(),
            stdout: Captured::new(output_bytes, share),
            tail: Tail::new(masker),
        }
    }
}

/// Standard output, whole. It is charged to the memory of all guests until it is dropped.
#[derive(Clone, Debug)]
pub(super) struct Captured(Arc<Mutex<Capture>>);

#[derive(Debug)]
struct Capture {
    bytes: Vec<u8>,
    limit: u64,
    share: MemoryShare,
}

impl Captured {
    fn new(limit: u64, share: MemoryShare) -> Self {
        let bytes = Vec::new();
        Self(Arc::new(Mutex::new(Capture { bytes, limit, share })))
    }

    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).bytes)
    }
}

impl Receive for Captured {
    fn receive(&self, bytes: &[u8]) -> wasmtime::Result<()> {
        let mut capture = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if (capture.bytes.len() + bytes.len()) as u64 > capture.limit {
            return Err(Stopped::Output.into());
        }
        capture.share.take(bytes.len())?;
        capture.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// The end of standard error.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    /// The end, plus the beginning of a secret that straddles its start.
    kept: Arc<Mutex<Vec<u8>>>,
    masker: Masker,
}

impl Tail {
    fn new(masker: Masker) -> Self {
        let kept = Arc::default();
        Self { kept, masker }
    }

    fn write(&self, bytes: &[u8]) {
        let most = TAIL_BYTES + self.masker.overlap();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let new = &bytes[bytes.len().saturating_sub(most)..];
        let surplus = (kept.len() + new.len()).saturating_sub(most);
        kept.drain(..surplus);
        kept.extend_from_slice(new);
    }

    /// The end as text, with secrets masked and invalid UTF-8 replaced.
    pub(super) fn take(&self) -> String {
        let mut kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        // Masks before it truncates: the masker doesn't recognise the end of a secret.
        self.masker.bytes(&mut kept);
        end_of(&kept)
    }
}

/// The last [`TAIL_BYTES`] as text.
pub(super) fn end_of(bytes: &[u8]) -> String {
    let mut end = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
    if end.len() < bytes.len() {
        // The rest of a character that began before it.
        let rest = end.iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count();
        end = &end[rest..];
    }
    String::from_utf8_lossy(end).into_owned()
}

/// Standard error of a command: into the call's log, and its end for the model.
#[derive(Clone, Debug)]
pub(super) struct CommandErrors {
    pub(super) log: GuestLog,
    pub(super) tail: Tail,
}

impl Receive for CommandErrors {
    fn receive(&self, bytes: &[u8]) -> wasmtime::Result<()> {
        self.log.write(bytes);
        self.tail.write(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sandbox::fairness::{GuestMemory, NoMemory};
    use crate::sandbox::{AttachedHeader, HttpGrant};
    use crate::secret::Secret;

    #[test]
    fn output_is_bounded_and_charged_as_it_grows() {
        let memory = GuestMemory::new(Some(800));
        let captured = Captured::new(250, memory.share("t".into()));
        captured.receive(&[1; 250]).unwrap();
        let error = captured.receive(&[1]).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Stopped::Output));
        assert_eq!(captured.take(), [1; 250]);
        let captured = Captured::new(1_000, memory.share("u".into()));
        let error = captured.receive(&[1; 301]).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&NoMemory::TooMuch { limit: 300 }));
    }

    #[test]
    fn only_the_end_of_standard_error_is_kept() {
        let tail = Tail::new(Masker::default());
        for number in 0..3_000 {
            tail.write(format!("{number}\n").as_bytes());
        }
        let end = tail.take();
        assert!(
            end.ends_with("2998\n2999\n") && end.len() == TAIL_BYTES,
            "{}",
            end.len()
        );
        tail.write(&[b'x'; 3 * TAIL_BYTES]);
        assert_eq!(tail.take(), "x".repeat(TAIL_BYTES));
    }

    #[test]
    fn the_end_begins_with_a_whole_character() {
        let text = "é".repeat(TAIL_BYTES) + "x";
        let end = end_of(text.as_bytes());
        assert!(end.starts_with('é') && end.len() == TAIL_BYTES - 1, "{}", end.len());
    }

    #[test]
    fn a_secret_that_straddles_the_start_of_the_end_is_masked() {
        let named = [("S".to_owned(), Ok(Secret::new("s3cr3t-value")))].into();
        let mut grant = HttpGrant::parse("https://x/", &["GET"]).unwrap();
        grant.headers = vec![AttachedHeader::new("x", "${secret:S}", &named).unwrap()];
        let masker = Masker::new(&[grant]).unwrap();
        for after in TAIL_BYTES - 11..TAIL_BYTES {
            let tail = Tail::new(masker.clone());
            tail.write(&[b'a'; 100]);
            tail.write(b"s3cr3t-value");
            tail.write(&vec![b'b'; after]);
            let expected = "*".repeat(TAIL_BYTES - after) + &"b".repeat(after);
            assert_eq!(tail.take(), expected, "{after}");
        }
    }
}
