//! Folders of the host that a guest may see. `wasmtime-wasi` keeps it within them, whatever the path or a link in it says;
//! what is added here is that nothing but files and folders is opened, that no link is made, and that what one call
//! writes is bounded.

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::filesystem::{Descriptor, FsPerms, WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, DirectoryEntryStream, ErrorCode, HostDescriptor, NewTimestamp, OpenFlags,
    PathFlags,
};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, FsError, FsResult, OutputStream, Pollable, StreamError, StreamResult,
};

use super::state::CallState;

/// The interface as `wasmtime-wasi` links it. Functions below take the place of some of its own.
const INTERFACE: &str = "wasi:filesystem/types@0.2.12";

/// What a new file or folder counts for, so that empty ones are not free: a block of a disk.
const ENTRY_BYTES: u64 = 4096;

/// Files and streams that a call may have open when it opens another: the whole process has only so many.
const MAX_OPEN: usize = 64;
/// Listings of folders at the same time: each is held by the host as a whole.
const MAX_LISTINGS: usize = 4;

/// A folder that a plugin may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderGrant {
    /// On the host.
    pub folder: PathBuf,
    /// What the guest calls it: an absolute path.
    pub at: String,
    /// Whether the guest may change what is in it.
    pub write: bool,
}

impl FolderGrant {
    /// What makes a path of a guest's one that it can't use.
    pub fn problem_of(at: &str) -> Option<&'static str> {
        let plain = |part: &str| !part.is_empty() && !matches!(part, "." | "..");
        match at.strip_prefix('/') {
            None => Some("must begin with `/`"),
            Some("") => None,
            Some(_) if at.contains('\0') => Some("holds a NUL"),
            Some(rest) if rest.split('/').all(plain) => None,
            Some(_) => Some("must have no empty part, `.` or `..`"),
        }
    }

    /// Whether the folder is there.
    pub(super) fn check(&self) -> io::Result<()> {
        match std::fs::metadata(&self.folder)?.is_dir() {
            true => Ok(()),
            false => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// Opens the folder for one call.
    pub(super) fn open(&self, wasi: &mut WasiCtxBuilder) -> wasmtime::Result<()> {
        let perms = match self.write {
            true => FsPerms::ReadWrite,
            false => FsPerms::ReadOnly,
        };
        wasi.preopened_dir(&self.folder, &self.at, perms)?;
        Ok(())
    }
}

impl std::fmt::Display for FolderGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let may = if self.write { "read and write" } else { "read" };
        write!(f, "{may} {}", self.at)
    }
}

/// Bytes that a call may still write to files.
#[derive(Clone, Debug)]
pub(super) struct FileBudget(std::sync::Arc<std::sync::atomic::AtomicU64>);

impl FileBudget {
    pub(super) fn new(bytes: u64) -> Self {
        Self(std::sync::Arc::new(bytes.into()))
    }

    /// Takes `bytes`, if so many are left.
    fn charge(&self, bytes: u64) -> Result<(), ErrorCode> {
        use std::sync::atomic::Ordering::Relaxed;
        let take = |left: u64| left.checked_sub(bytes);
        match self.0.fetch_update(Relaxed, Relaxed, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(ErrorCode::Quota),
        }
    }
}

/// Puts ours in the place of those functions that open, make and write.
pub(super) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(INTERFACE)?;
    types.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: Store<'_>, (fd, path_flags, path, open_flags, flags): OpenAt| {
            Box::new(async move { answer(open_at(store.data_mut(), fd, path_flags, path, open_flags, flags).await) })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.create-directory-at",
        |mut store: Store<'_>, (fd, path): (Fd, String)| {
            Box::new(async move { answer(create_directory_at(store.data_mut(), fd, path).await) })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.symlink-at",
        |mut store: Store<'_>, (_, _, _): (Fd, String, String)| {
            Box::new(async move {
                // It would lead no guest out, but whoever else follows it.
                store.data_mut().host_calls += 1;
                answer::<()>(Err(ErrorCode::NotPermitted.into()))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.link-at",
        |mut store: Store<'_>, (_, _, _, _, _): (Fd, PathFlags, String, Fd, String)| {
            Box::new(async move {
                // A second name outlives the grant of the first.
                store.data_mut().host_calls += 1;
                answer::<()>(Err(ErrorCode::NotPermitted.into()))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.set-times-at",
        |mut store: Store<'_>, (fd, _, path, accessed, modified): SetTimesAt| {
            Box::new(async move {
                // Following a link it would open what is there, and wait for the other end of a FIFO.
                let mut files = store.data_mut().filesystem();
                answer(
                    files
                        .set_times_at(fd, PathFlags::empty(), path, accessed, modified)
                        .await,
                )
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.read-directory",
        |mut store: Store<'_>, (fd,): (Fd,)| {
            Box::new(async move { answer(read_directory(store.data_mut(), fd).await) })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.set-size",
        |mut store: Store<'_>, (fd, size): (Fd, u64)| {
            Box::new(async move { answer(set_size(store.data_mut(), fd, size).await) })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.write",
        |mut store: Store<'_>, (fd, bytes, offset): (Fd, Vec<u8>, u64)| {
            Box::new(async move { answer(write(store.data_mut(), fd, bytes, offset).await) })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.write-via-stream",
        |mut store: Store<'_>, (fd, offset): (Fd, u64)| {
            Box::new(async move { answer(write_via_stream(store.data_mut(), fd, offset).await) })
        },
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |mut store: Store<'_>, (fd,): (Fd,)| answer(append_via_stream(store.data_mut(), fd)),
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

type Store<'a> = StoreContextMut<'a, CallState>;
type Fd = Resource<Descriptor>;
type SetTimesAt = (Fd, PathFlags, String, NewTimestamp, NewTimestamp);
type OpenAt = (Fd, PathFlags, String, OpenFlags, DescriptorFlags);

/// As the component's own: an error code is an answer, anything else ends the call.
fn answer<T>(result: FsResult<T>) -> wasmtime::Result<(Result<T, ErrorCode>,)> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

/// Opening a FIFO waits for whoever opens its other end, on a thread that nobody can call back; a device does whatever it
/// does.
async fn open_at(
    state: &mut CallState,
    fd: Fd,
    path_flags: PathFlags,
    path: String,
    open_flags: OpenFlags,
    flags: DescriptorFlags,
) -> FsResult<Fd> {
    // A stream keeps its file open when the descriptor is gone.
    let open = state
        .table
        .iter_mut()
        .filter(|entry| entry.is::<Descriptor>() || entry.is::<DynInputStream>() || entry.is::<DynOutputStream>());
    let full = open.count() >= MAX_OPEN;
    let budget = state.files.clone();
    let mut files = state.filesystem();
    if full {
        return Err(ErrorCode::Quota.into());
    }
    let same = Resource::new_borrow(fd.rep());
    match files.stat_at(same, path_flags, path.clone()).await {
        Ok(found) => match found.type_ {
            DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink => {}
            _ => return Err(ErrorCode::NotPermitted.into()),
        },
        Err(error) => match error.downcast().map_err(FsError::trap)? {
            ErrorCode::NoEntry if open_flags.contains(OpenFlags::CREATE) => budget.charge(ENTRY_BYTES)?,
            code => return Err(code.into()),
        },
    }
    files.open_at(fd, path_flags, path, open_flags, flags).await
}

async fn create_directory_at(state: &mut CallState, fd: Fd, path: String) -> FsResult<()> {
    let budget = state.files.clone();
    let mut files = state.filesystem();
    budget.charge(ENTRY_BYTES)?;
    files.create_directory_at(fd, path).await
}

async fn read_directory(state: &mut CallState, fd: Fd) -> FsResult<Resource<DirectoryEntryStream>> {
    let entries = state.table.iter_mut();
    let full = entries.filter(|entry| entry.is::<DirectoryEntryStream>()).count() >= MAX_LISTINGS;
    let mut files = state.filesystem();
    if full {
        return Err(ErrorCode::Quota.into());
    }
    files.read_directory(fd).await
}

async fn write(state: &mut CallState, fd: Fd, bytes: Vec<u8>, offset: u64) -> FsResult<u64> {
    let budget = state.files.clone();
    let mut files = state.filesystem();
    charge_write(&mut files, &budget, &fd, offset, bytes.len() as u64).await?;
    files.write(fd, bytes, offset).await
}

async fn write_via_stream(state: &mut CallState, fd: Fd, offset: u64) -> FsResult<Resource<DynOutputStream>> {
    let budget = state.files.clone();
    let mut files = state.filesystem();
    charge_write(&mut files, &budget, &fd, offset, 0).await?;
    let stream = files.write_via_stream(fd, offset)?;
    bounded(&mut state.table, stream, budget)
}

fn append_via_stream(state: &mut CallState, fd: Fd) -> FsResult<Resource<DynOutputStream>> {
    let stream = state.filesystem().append_via_stream(fd)?;
    bounded(&mut state.table, stream, state.files.clone())
}

/// What is written, and the gap before it: a file that ends beyond its bytes takes room as well, sooner or later.
async fn charge_write(
    files: &mut WasiFilesystemCtxView<'_>,
    budget: &FileBudget,
    fd: &Fd,
    offset: u64,
    bytes: u64,
) -> FsResult<()> {
    let now = files.stat(Resource::new_borrow(fd.rep())).await?.size;
    budget.charge(offset.saturating_sub(now).saturating_add(bytes))?;
    Ok(())
}

/// A file that grows takes room, also where nothing is written into it.
async fn set_size(state: &mut CallState, fd: Fd, size: u64) -> FsResult<()> {
    let budget = state.files.clone();
    let mut files = state.filesystem();
    charge_write(&mut files, &budget, &fd, size, 0).await?;
    files.set_size(fd, size).await
}

/// Puts a stream to a file under the budget.
fn bounded(
    table: &mut ResourceTable,
    stream: Resource<DynOutputStream>,
    budget: FileBudget,
) -> FsResult<Resource<DynOutputStream>> {
    let inner = table.delete(stream)?;
    let bounded: DynOutputStream = Box::new(Bounded { inner, budget });
    Ok(table.push(bounded)?)
}

/// Charges what is written.
struct Bounded {
    inner: DynOutputStream,
    budget: FileBudget,
}

#[async_trait]
impl Pollable for Bounded {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl OutputStream for Bounded {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if self.budget.charge(bytes.len() as u64).is_err() {
            let full = io::Error::from(io::ErrorKind::StorageFull);
            return Err(StreamError::LastOperationFailed(full.into()));
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write()
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_path_is_absolute_and_plain() {
        for at in ["/", "/data", "/data/in put"] {
            assert_eq!(FolderGrant::problem_of(at), None, "{at}");
        }
        for at in ["", "data", "./data", "//", "/data/", "/a//b", "/a/../b", "/./a", "/a\0"] {
            assert!(FolderGrant::problem_of(at).is_some(), "{at:?}");
        }
    }

    #[test]
    fn the_budget_is_whole_or_not_at_all() {
        let budget = FileBudget::new(10);
        assert_eq!(budget.charge(11), Err(ErrorCode::Quota));
        assert_eq!((budget.charge(4), budget.charge(6)), (Ok(()), Ok(())));
        assert_eq!(budget.charge(1), Err(ErrorCode::Quota));
    }
}
