//! Notices when files change.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::Config;
use crate::tools::ComponentSource;

/// How often the files are looked at. Looking is cheap and works on every file system, also on those without notifications.
const INTERVAL: Duration = Duration::from_secs(1);

/// The files of a configuration, and what they looked like.
#[derive(Debug)]
pub struct Files(Vec<(PathBuf, Option<Look>)>);

/// What changes when a file is written or replaced.
type Look = (SystemTime, u64, u64);

impl Files {
    pub fn of(config: &Config) -> Self {
        let components = config.plugins.iter().filter_map(|plugin| match &plugin.source {
            ComponentSource::Path(path) => Some(path.clone()),
            ComponentSource::Builtin(_) => None,
        });
        let files = config.origins.file().map(Path::to_owned).into_iter().chain(components);
        Self(files.map(|path| (path.clone(), look(&path))).collect())
    }

    /// Follows the files of a new configuration from now on.
    pub fn follow(&mut self, config: &Config) {
        *self = Self::of(config);
    }

    /// Returns once a file has changed and none has changed since the look before, so that a file is read when it is whole.
    pub async fn changed(&mut self) {
        let mut is_changing = false;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let mut has_changed = false;
            for (path, before) in &mut self.0 {
                let now = look(path);
                has_changed |= now != *before;
                *before = now;
            }
            if is_changing && !has_changed {
                return;
            }
            is_changing |= has_changed;
        }
    }
}

/// `None` if there is no such file, as while it is being replaced.
fn look(path: &Path) -> Option<Look> {
    let metadata = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Some((metadata.modified().ok()?, metadata.len(), inode))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::task::Poll;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_is_reported_once_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wasm");
        std::fs::write(&path, "1").unwrap();
        let mut files = Files(vec![(path.clone(), look(&path))]);
        let mut changed = pin!(files.changed());
        assert!(is_pending_after_a_look(changed.as_mut()).await && is_pending_after_a_look(changed.as_mut()).await);
        std::fs::remove_file(&path).unwrap();
        assert!(is_pending_after_a_look(changed.as_mut()).await);
        std::fs::write(&path, "12").unwrap();
        assert!(is_pending_after_a_look(changed.as_mut()).await);
        assert!(!is_pending_after_a_look(changed.as_mut()).await);
    }

    async fn is_pending_after_a_look(mut changed: Pin<&mut impl Future<Output = ()>>) -> bool {
        // The first poll of a sleep starts it, so poll before and after.
        let mut poll = async || poll_fn(|cx| Poll::Ready(changed.as_mut().poll(cx).is_pending())).await;
        let _ = poll().await;
        tokio::time::advance(INTERVAL).await;
        poll().await
    }
}
