//! Notices when files change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::author;
use crate::config::Config;
use crate::tools::ComponentSource;

/// How often the files of a configuration are looked at. Looking is cheap and works on every file system, also on those without
/// notifications.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often the files of a project are looked at: a person waits for the build.
const PROJECT_INTERVAL: Duration = Duration::from_millis(300);

/// Files, and what they looked like.
pub struct Files {
    /// Which files there are now.
    list: Box<dyn Fn() -> Vec<PathBuf> + Send>,
    interval: Duration,
    looks: Looks,
}

/// What changes when a file is written or replaced.
type Look = (SystemTime, u64, u64);
type Looks = BTreeMap<PathBuf, Option<Look>>;

impl Files {
    /// The files of a configuration.
    pub fn of(config: &Config) -> Self {
        let components = config.plugins.iter().filter_map(|plugin| match &plugin.source {
            ComponentSource::Path(path) => Some(path.clone()),
            ComponentSource::Builtin(_) | ComponentSource::Bytes(_) => None,
        });
        let files: Vec<PathBuf> = config.origins.files().map(Path::to_owned).chain(components).collect();
        Self::new(move || files.clone(), INTERVAL)
    }

    /// The sources of a project, whichever there are, and `more` files.
    pub fn of_project(folder: &Path, more: Option<&Path>) -> Self {
        let (folder, more) = (folder.to_owned(), more.map(Path::to_owned));
        let list = move || author::sources(&folder).into_iter().chain(more.clone()).collect();
        Self::new(list, PROJECT_INTERVAL)
    }

    fn new(list: impl Fn() -> Vec<PathBuf> + Send + 'static, interval: Duration) -> Self {
        let mut files = Self {
            list: Box::new(list),
            interval,
            looks: Looks::new(),
        };
        files.looks = files.look();
        files
    }

    fn look(&self) -> Looks {
        let files = (self.list)().into_iter();
        files
            .map(|path| {
                let look = look(&path);
                (path, look)
            })
            .collect()
    }

    /// Follows the files of a new configuration from now on.
    pub fn follow(&mut self, config: &Config) {
        *self = Self::of(config);
    }

    /// Takes the files that `is_expected` says as they are now: their changes until now aren't reported.
    pub fn accept(&mut self, is_expected: impl Fn(&Path) -> bool) {
        for (path, look) in self.look() {
            if is_expected(&path) {
                self.looks.insert(path, look);
            }
        }
    }

    /// The files that have changed or appeared since they were looked at last, at once. One that is gone may be about to be replaced.
    pub fn changed_by_now(&mut self) -> Vec<PathBuf> {
        let now = self.look().into_iter().filter(|(_, look)| look.is_some());
        let changed: Looks = now.filter(|(path, look)| self.looks.get(path) != Some(look)).collect();
        let paths = changed.keys().cloned().collect();
        self.looks.extend(changed);
        paths
    }

    /// Returns the files that have changed, appeared or gone, once there are some and none has changed since the look before, so
    /// that a file is read when it is whole.
    pub async fn changed(&mut self) -> BTreeSet<PathBuf> {
        let mut changed = BTreeSet::new();
        loop {
            tokio::time::sleep(self.interval).await;
            let before = std::mem::take(&mut self.looks);
            self.looks = self.look();
            let is_same = |path: &&PathBuf| before.get(*path) == self.looks.get(*path);
            let different = before.keys().chain(self.looks.keys()).filter(|path| !is_same(path));
            let different: Vec<PathBuf> = different.cloned().collect();
            if different.is_empty() && !changed.is_empty() {
                return changed;
            }
            changed.extend(different);
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
        let list = path.clone();
        let mut files = Files::new(move || vec![list.clone()], INTERVAL);
        let mut changed = pin!(files.changed());
        assert!(is_pending_after_a_look(changed.as_mut()).await && is_pending_after_a_look(changed.as_mut()).await);
        std::fs::remove_file(&path).unwrap();
        assert!(is_pending_after_a_look(changed.as_mut()).await);
        std::fs::write(&path, "12").unwrap();
        assert!(is_pending_after_a_look(changed.as_mut()).await);
        assert!(!is_pending_after_a_look(changed.as_mut()).await);
    }

    #[test]
    fn a_change_is_known_at_once_and_reported_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wasm");
        std::fs::write(&path, "1").unwrap();
        let list = path.clone();
        let mut files = Files::new(move || vec![list.clone()], INTERVAL);
        assert!(files.changed_by_now().is_empty());
        std::fs::remove_file(&path).unwrap();
        assert!(files.changed_by_now().is_empty());
        std::fs::write(&path, "12").unwrap();
        assert_eq!(files.changed_by_now(), [path]);
        assert!(files.changed_by_now().is_empty());
    }

    /// What [`Files::changed`] reports after `change`, as names.
    async fn reported(folder: &Path, files: &mut Files, change: impl FnOnce()) -> Vec<String> {
        change();
        let changed = files.changed().await.into_iter();
        let names = changed.map(|path| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
        names.collect()
    }

    #[tokio::test(start_paused = true)]
    async fn new_removed_and_replaced_sources_are_changes_and_what_builds_write_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("a.c", "1");
        write("b.c", "1");
        let mut files = Files::of_project(folder.path(), None);
        let several = reported(folder.path(), &mut files, || {
            std::fs::remove_file(folder.path().join("a.c")).unwrap();
            // As editors do that save by rename: the same length and perhaps the same time.
            write(".b.c.new", "2");
            std::fs::rename(folder.path().join(".b.c.new"), folder.path().join("b.c")).unwrap();
            write("src/new.c", "");
            write("target/new.o", "");
            write("letters.wasm", "");
        });
        assert_eq!(several.await, ["a.c", "b.c", "src/new.c"]);
        // The build changes a file that people change as well; meanwhile a person saves another one.
        write("Cargo.lock", "by the build");
        write("b.c", "12");
        files.accept(author::changes_in_builds);
        assert_eq!(reported(folder.path(), &mut files, || {}).await, ["b.c"]);
        let lock = reported(folder.path(), &mut files, || write("Cargo.lock", "by a person"));
        assert_eq!(lock.await, ["Cargo.lock"]);
    }

    async fn is_pending_after_a_look(mut changed: Pin<&mut impl Future<Output = BTreeSet<PathBuf>>>) -> bool {
        // The first poll of a sleep starts it, so poll before and after.
        let mut poll = async || poll_fn(|cx| Poll::Ready(changed.as_mut().poll(cx).is_pending())).await;
        let _ = poll().await;
        tokio::time::advance(INTERVAL).await;
        poll().await
    }
}
