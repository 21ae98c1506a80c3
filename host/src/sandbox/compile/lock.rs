//! Keeps processes from compiling the same component at the same time: the second waits, and then finds it in the cache.
//!
//! The lock belongs to an open file, so it ends with the process that holds it, however that ends. What it protects is time, not
//! correctness: without it, a component is compiled twice.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::time::Instant;

/// How often a waiting process asks again.
const INTERVAL: Duration = Duration::from_millis(20);

/// A lock that is held. Dropping it removes the file, so drop it where blocking is allowed.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Waits up to `wait` for the lock. `None` if another process still holds it then, or if the file can't be locked.
    pub(super) async fn acquire(path: PathBuf, wait: Duration) -> Option<Self> {
        let started = Instant::now();
        let mut announced = false;
        loop {
            let path = path.clone();
            let tried = tokio::task::spawn_blocking(move || Self::try_acquire(&path)).await;
            match tried {
                Ok(Ok(Some(lock))) => return Some(lock),
                Ok(Ok(None)) if started.elapsed() < wait => {}
                Ok(Err(error)) => {
                    tracing::debug!(%error, "can't lock an entry of the cache");
                    return None;
                }
                _ => return None,
            }
            if !std::mem::replace(&mut announced, true) {
                tracing::info!("another process compiles the same component; waiting for it");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// `None` if another process holds it.
    fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // Its last holder has removed the file, and another one may be there by now.
        let is_current =
            std::fs::metadata(path).is_ok_and(|current| file.metadata().is_ok_and(|own| own.ino() == current.ino()));
        Ok(is_current.then(|| Self {
            path: path.to_owned(),
            _file: file,
        }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // If it stays, it is locked again or cleared away later.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_the_wait_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::acquire(path.clone(), Duration::ZERO).await.unwrap();
        assert!(Lock::acquire(path.clone(), Duration::from_millis(50)).await.is_none());
        let waiting = tokio::spawn(Lock::acquire(path.clone(), Duration::from_secs(60)));
        tokio::task::yield_now().await;
        drop(held);
        let held = waiting.await.unwrap();
        assert!(held.is_some());
        drop(held);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_lock_whose_owner_died_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::fs::write(&path, "").unwrap();
        assert!(Lock::acquire(path, Duration::ZERO).await.is_some());
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_locks_nothing() {
        let folder = tempfile::tempdir().unwrap().path().join("gone");
        assert!(
            Lock::acquire(folder.join("lock"), Duration::from_secs(60))
                .await
                .is_none()
        );
    }
}
