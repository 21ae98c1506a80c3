//! What a guest prints, kept up to a limit.

use std::sync::{Arc, Mutex, PoisonError};

use crate::sandbox::http::Masker;

/// Standard output and standard error of one call, in the order in which they were written.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct GuestLog {
    buffer: Arc<Mutex<Buffer>>,
    masker: Masker,
}

#[derive(Debug)]
struct Buffer {
    /// Bytes up to the limit, plus the rest of a secret that can straddle it.
    kept: Vec<u8>,
    limit: usize,
    overlap: usize,
    written: u64,
}

impl Buffer {
    fn write(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_add(self.overlap) - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.written += bytes.len() as u64;
    }
}

impl GuestLog {
    pub(in crate::sandbox) fn new(limit: u64, masker: Masker) -> Self {
        let buffer = Buffer {
            kept: Vec::new(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            overlap: masker.overlap(),
            written: 0,
        };
        Self {
            buffer: Arc::new(Mutex::new(buffer)),
            masker,
        }
    }

    pub(in crate::sandbox) fn write(&self, bytes: &[u8]) {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner).write(bytes);
    }

    /// Writes the parts and a line break, with nothing between them.
    pub(in crate::sandbox) fn write_line(&self, parts: &[&str]) {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().for_each(|part| buffer.write(part.as_bytes()));
        buffer.write(b"\n");
    }

    /// The kept text, with secrets masked and invalid UTF-8 replaced, and the number of bytes that were dropped.
    pub(in crate::sandbox) fn take(&self) -> (String, u64) {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = std::mem::take(&mut buffer.kept);
        // Masks before it truncates: the masker doesn't recognise the beginning of a secret.
        self.masker.bytes(&mut kept);
        kept.truncate(buffer.limit);
        let dropped = buffer.written - kept.len() as u64;
        (String::from_utf8_lossy(&kept).into_owned(), dropped)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sandbox::{AttachedHeader, HttpGrant};
    use crate::secret::Secret;

    #[test]
    fn a_secret_that_straddles_the_limit_is_masked() {
        let named = [("S".to_owned(), Ok(Secret::new("s3cr3t-value")))].into();
        let mut grant = HttpGrant::parse("https://x/", &["GET"]).unwrap();
        grant.headers = vec![AttachedHeader::new("x", "${secret:S}", &named).unwrap()];
        let masker = Masker::new(&[grant]).unwrap();
        for limit in 2..14 {
            let log = GuestLog::new(limit, masker.clone());
            log.write(b"> s3cr3t");
            log.write(b"-value, and more");
            let kept = &"> ************, and more"[..usize::try_from(limit).unwrap()];
            assert_eq!(log.take(), (kept.to_owned(), 24 - limit));
        }
    }

    #[test]
    fn bytes_beyond_the_limit_are_dropped_and_counted() {
        let log = GuestLog::new(5, Masker::default());
        log.write(b"abc");
        log.write(b"defg");
        log.write(b"h");
        assert_eq!(log.take(), ("abcde".to_owned(), 3));
    }
}
