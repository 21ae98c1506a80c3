//! The functions of `wasi:filesystem` that open, make, change and write, in place of those of `wasmtime-wasi`.

use std::any::Any;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, Dir, File, OpenMode, WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, DirectoryEntryStream, ErrorCode, HostDescriptor, NewTimestamp, OpenFlags,
    PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::budget::{ENTRY_BYTES, FileBudget};
use super::open::{Opened, Opening};
use super::streams::{FileReader, FileWriter, Place};
use crate::sandbox::state::CallState;

/// The interface as `wasmtime-wasi` links it. Functions below take the place of some of its own.
const INTERFACE: &str = "wasi:filesystem/types@0.2.12";

/// Descriptors and streams that a call may have when it opens another: the whole process has only so many.
pub(in crate::sandbox) const MAX_OPEN: usize = 128;
/// Listings of folders at the same time: each is held by the host as a whole.
const MAX_LISTINGS: usize = 4;
/// Entries of a folder that can be listed.
const MAX_ENTRIES: usize = 10_000;

/// Puts ours in the place of those functions that open, make and write.
pub(in crate::sandbox) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
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
            Box::new(async move { answer(set_times_at(store.data_mut(), fd, path, accessed, modified).await) })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.set-times",
        |mut store: Store<'_>, (fd, accessed, modified): (Fd, NewTimestamp, NewTimestamp)| {
            Box::new(async move { answer(set_times(store.data_mut(), fd, accessed, modified).await) })
        },
    )?;
    types.func_wrap_async("[method]descriptor.sync", |mut store: Store<'_>, (fd,): (Fd,)| {
        Box::new(async move { answer(sync(store.data_mut(), fd).await) })
    })?;
    types.func_wrap_async("[method]descriptor.sync-data", |mut store: Store<'_>, (fd,): (Fd,)| {
        Box::new(async move { answer(sync(store.data_mut(), fd).await) })
    })?;
    types.func_wrap_async(
        "[method]descriptor.rename-at",
        |mut store: Store<'_>, (fd, path, to, name): (Fd, String, Fd, String)| {
            Box::new(async move { answer(rename_at(store.data_mut(), fd, path, to, name).await) })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.unlink-file-at",
        |mut store: Store<'_>, (fd, path): (Fd, String)| {
            Box::new(async move { answer(unlink_file_at(store.data_mut(), fd, path).await) })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.remove-directory-at",
        |mut store: Store<'_>, (fd, path): (Fd, String)| {
            Box::new(async move { answer(remove_directory_at(store.data_mut(), fd, path).await) })
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
    types.func_wrap(
        "[method]descriptor.read-via-stream",
        |mut store: Store<'_>, (fd, offset): (Fd, u64)| answer(read_via_stream(store.data_mut(), &fd, offset)),
    )?;
    types.func_wrap_async(
        "[method]descriptor.write-via-stream",
        |mut store: Store<'_>, (fd, offset): (Fd, u64)| {
            Box::new(async move { answer(write_via_stream(store.data_mut(), &fd, offset).await) })
        },
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |mut store: Store<'_>, (fd,): (Fd,)| answer(append_via_stream(store.data_mut(), &fd)),
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

async fn open_at(
    state: &mut CallState,
    fd: Fd,
    path_flags: PathFlags,
    path: String,
    open_flags: OpenFlags,
    flags: DescriptorFlags,
) -> FsResult<Fd> {
    let may_open = may_open(state);
    let ours = state.files.clone();
    let mut files = state.filesystem();
    may_open?;
    let opening = Opening::new(path_flags, open_flags, flags)?;
    let folder = match files.table.get(&fd)? {
        Descriptor::Dir(folder) => folder.clone(),
        Descriptor::File(_) => return Err(ErrorCode::NotDirectory.into()),
    };
    if folder.perms.write_not_permitted() && opening.mode.contains(OpenMode::WRITE) {
        return Err(ErrorCode::NotPermitted.into());
    }
    match files.stat_at(fd, path_flags, path.clone()).await {
        Ok(found) => match found.type_ {
            DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink => {}
            _ => return Err(ErrorCode::NotPermitted.into()),
        },
        Err(error) => match error.downcast().map_err(FsError::trap)? {
            ErrorCode::NoEntry if open_flags.contains(OpenFlags::CREATE) => ours.budget.charge(ENTRY_BYTES)?,
            code => return Err(code.into()),
        },
    }
    let mode = opening.mode;
    let folder_only = open_flags.contains(OpenFlags::DIRECTORY);
    let within = folder.dir.clone();
    let opened = ours.run(move || opening.open(&within, &path)).await?;
    Ok(files.table.push(match opened {
        Opened::Folder(opened) => Descriptor::Dir(Dir::new(opened, folder.perms, mode, false)),
        Opened::File(_) if folder_only => return Err(ErrorCode::NotDirectory.into()),
        Opened::File(opened) => Descriptor::File(File::new(opened, folder.perms, mode, false)),
        Opened::Other => return Err(ErrorCode::NotPermitted.into()),
    })?)
}

/// A stream keeps its file open when the descriptor is gone.
fn may_open(state: &mut CallState) -> Result<(), ErrorCode> {
    let is_open = |entry: &&mut (dyn Any + Send)| {
        entry.is::<Descriptor>() || entry.is::<DynInputStream>() || entry.is::<DynOutputStream>()
    };
    match state.table.iter_mut().filter(is_open).count() < MAX_OPEN {
        true => Ok(()),
        false => Err(ErrorCode::Quota),
    }
}

/// For what changes something and moves no bytes.
fn charged(state: &mut CallState) -> Result<WasiFilesystemCtxView<'_>, ErrorCode> {
    let budget = state.files.budget.clone();
    let files = state.filesystem();
    budget.charge(ENTRY_BYTES)?;
    Ok(files)
}

async fn create_directory_at(state: &mut CallState, fd: Fd, path: String) -> FsResult<()> {
    charged(state)?.create_directory_at(fd, path).await
}

async fn remove_directory_at(state: &mut CallState, fd: Fd, path: String) -> FsResult<()> {
    charged(state)?.remove_directory_at(fd, path).await
}

async fn unlink_file_at(state: &mut CallState, fd: Fd, path: String) -> FsResult<()> {
    charged(state)?.unlink_file_at(fd, path).await
}

async fn rename_at(state: &mut CallState, fd: Fd, path: String, to: Fd, name: String) -> FsResult<()> {
    charged(state)?.rename_at(fd, path, to, name).await
}

async fn set_times(state: &mut CallState, fd: Fd, accessed: NewTimestamp, modified: NewTimestamp) -> FsResult<()> {
    charged(state)?.set_times(fd, accessed, modified).await
}

async fn set_times_at(
    state: &mut CallState,
    fd: Fd,
    path: String,
    accessed: NewTimestamp,
    modified: NewTimestamp,
) -> FsResult<()> {
    // Following a link it would open what is there, and wait for the other end of a FIFO.
    let mut files = charged(state)?;
    files
        .set_times_at(fd, PathFlags::empty(), path, accessed, modified)
        .await
}

/// All of it, or the data alone: the same work for the disk.
async fn sync(state: &mut CallState, fd: Fd) -> FsResult<()> {
    charged(state)?.sync(fd).await
}

async fn read_directory(state: &mut CallState, fd: Fd) -> FsResult<Resource<DirectoryEntryStream>> {
    let entries = state.table.iter_mut();
    let full = entries.filter(|entry| entry.is::<DirectoryEntryStream>()).count() >= MAX_LISTINGS;
    let ours = state.files.clone();
    let mut files = state.filesystem();
    if full {
        return Err(ErrorCode::Quota.into());
    }
    if let Descriptor::Dir(folder) = files.table.get(&fd)? {
        let folder = folder.dir.clone();
        let is_too_large = ours.run(move || {
            let entries = rustix::fs::Dir::read_from(&folder)?;
            Ok(entries.take(MAX_ENTRIES + 1).count() > MAX_ENTRIES)
        });
        if is_too_large.await? {
            return Err(ErrorCode::Overflow.into());
        }
    }
    files.read_directory(fd).await
}

async fn write(state: &mut CallState, fd: Fd, bytes: Vec<u8>, offset: u64) -> FsResult<u64> {
    let budget = state.files.budget.clone();
    let mut files = state.filesystem();
    charge_write(&mut files, &budget, &fd, offset, bytes.len() as u64).await?;
    files.write(fd, bytes, offset).await
}

fn read_via_stream(state: &mut CallState, fd: &Fd, offset: u64) -> FsResult<Resource<DynInputStream>> {
    let may_open = may_open(state);
    let ours = state.files.clone();
    let files = state.filesystem();
    may_open?;
    let file = match files.table.get(fd)? {
        Descriptor::File(file) => file,
        Descriptor::Dir(_) => return Err(ErrorCode::IsDirectory.into()),
    };
    if !file.open_mode.contains(OpenMode::READ) {
        return Err(ErrorCode::BadDescriptor.into());
    }
    let stream: DynInputStream = Box::new(FileReader::new(&ours, &file.file, offset));
    Ok(files.table.push(stream)?)
}

async fn write_via_stream(state: &mut CallState, fd: &Fd, offset: u64) -> FsResult<Resource<DynOutputStream>> {
    let may_open = may_open(state);
    let budget = state.files.budget.clone();
    let mut files = state.filesystem();
    may_open?;
    charge_write(&mut files, &budget, fd, offset, 0).await?;
    writer(state, fd, Place::From(offset))
}

fn append_via_stream(state: &mut CallState, fd: &Fd) -> FsResult<Resource<DynOutputStream>> {
    let may_open = may_open(state);
    state.filesystem();
    may_open?;
    writer(state, fd, Place::End)
}

fn writer(state: &mut CallState, fd: &Fd, place: Place) -> FsResult<Resource<DynOutputStream>> {
    let file = match state.table.get(fd)? {
        Descriptor::File(file) => file,
        Descriptor::Dir(_) => return Err(ErrorCode::IsDirectory.into()),
    };
    if file.perms.write_not_permitted() || !file.open_mode.contains(OpenMode::WRITE) {
        return Err(ErrorCode::BadDescriptor.into());
    }
    let stream: DynOutputStream = Box::new(FileWriter::new(&state.files, &file.file, place));
    Ok(state.table.push(stream)?)
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
    let budget = state.files.budget.clone();
    let mut files = state.filesystem();
    charge_write(&mut files, &budget, &fd, size, 0).await?;
    files.set_size(fd, size).await
}
