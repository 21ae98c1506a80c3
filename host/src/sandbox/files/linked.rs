//! The functions of `wasi:filesystem`, wrapping those of `wasmtime-wasi`: each first waits for a permit, and opening, creating,
//! changing and writing are bounded.

use std::any::Any;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable, ResourceType};
use wasmtime_wasi::filesystem::{Descriptor, File, OpenMode, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntryStream, ErrorCode, HostDescriptor,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::budget::{ENTRY_BYTES, HELD_FOR_AN_ENTRY, MAX_ENTRIES, MAX_LISTINGS, MAX_OPEN, PIECE};
use super::grant::Folder;
use super::held::Held;
use super::open::Opening;
use super::state::Files;
use super::streams::{FileReader, FileWriter, WritePosition};
use crate::sandbox::fairness::{CallMemory, on_blocking_thread};

/// The interfaces as `wasmtime-wasi` links them.
const TYPES: &str = "wasi:filesystem/types@0.2.12";
const PREOPENS: &str = "wasi:filesystem/preopens@0.2.12";

/// What the functions below need of a call.
pub(in crate::sandbox) struct FilesCtx<'a> {
    pub(in crate::sandbox) files: &'a Files,
    pub(in crate::sandbox) folders: &'a [Folder],
    pub(in crate::sandbox) table: &'a mut ResourceTable,
    pub(in crate::sandbox) memory: &'a mut CallMemory,
}

/// The state of a call that can use files.
pub(in crate::sandbox) trait FilesView: Send + 'static {
    /// Counts as one host call.
    fn files(&mut self) -> FilesCtx<'_>;
}

type Store<'a, T> = StoreContextMut<'a, T>;
type Fd = Resource<Descriptor>;

/// Links functions of this file as methods of a descriptor.
macro_rules! methods {
    ($types:ident: $($name:literal = $function:ident($($argument:ident: $type:ty),*);)*) => {$(
        $types.func_wrap_async(
            concat!("[method]descriptor.", $name),
            |mut store: Store<'_, T>, ($($argument,)*): ($($type,)*)| {
                Box::new(async move {
                    let mut ctx = store.data_mut().files();
                    answer($function(&mut ctx, $($argument),*).await)
                })
            },
        )?;
    )*};
}

/// Lets `wasmtime-wasi` work in a separate task, on a separate table of descriptors: work that has started goes on when the
/// call is over, and keeps its permit until it is done.
macro_rules! apart {
    ($ctx:ident, $($fd:ident),+; |$files:ident| $work:expr) => {
        apart!($ctx.files.clone(), $ctx, $($fd),+; |$files| $work)
    };
    ($ours:expr, $ctx:ident, $($fd:ident),+; |$files:ident| $work:expr) => {{
        let ours = $ours;
        let closing = $ctx.files.clone();
        $(let $fd = Held::new(&closing, $ctx.table.get(&$fd)?.clone());)+
        ours.run(async move {
            let (mut ctx, mut table) = (WasiFilesystemCtx::default(), ResourceTable::new());
            let work = async {
                $(let $fd = table.push($fd.descriptor().ok_or(ErrorCode::BadDescriptor)?.clone())?;)+
                let mut $files = WasiFilesystemCtxView {
                    ctx: &mut ctx,
                    table: &mut table,
                };
                $work
            };
            let done = work.await;
            closing.close_all(table);
            done
        })
        .await
    }};
}

pub(in crate::sandbox) fn add_to_linker<T: FilesView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut preopens = linker.instance(PREOPENS)?;
    preopens.func_wrap("get-directories", |mut store: Store<'_, T>, (): ()| {
        let ctx = store.data_mut().files();
        let mut directories = Vec::new();
        for folder in ctx.folders {
            let fd = ctx.table.push(Descriptor::Dir(folder.dir.clone()))?;
            directories.push((fd, folder.at.clone()));
        }
        Ok((directories,))
    })?;
    let mut types = linker.instance(TYPES)?;
    methods! { types:
        "advise" = advise(fd: Fd, offset: u64, length: u64, advice: Advice);
        "create-directory-at" = create_directory_at(fd: Fd, path: String);
        "get-flags" = get_flags(fd: Fd);
        "get-type" = get_type(fd: Fd);
        "link-at" = link_at(fd: Fd, flags: PathFlags, path: String, to: Fd, name: String);
        "metadata-hash" = metadata_hash(fd: Fd);
        "metadata-hash-at" = metadata_hash_at(fd: Fd, flags: PathFlags, path: String);
        "open-at" = open_at(fd: Fd, path_flags: PathFlags, path: String, open_flags: OpenFlags, flags: DescriptorFlags);
        "read" = read(fd: Fd, length: u64, offset: u64);
        "read-directory" = read_directory(fd: Fd);
        "readlink-at" = readlink_at(fd: Fd, path: String);
        "remove-directory-at" = remove_directory_at(fd: Fd, path: String);
        "rename-at" = rename_at(fd: Fd, path: String, to: Fd, name: String);
        "set-size" = set_size(fd: Fd, size: u64);
        "set-times" = set_times(fd: Fd, accessed: NewTimestamp, modified: NewTimestamp);
        "set-times-at" = set_times_at(fd: Fd, flags: PathFlags, path: String, accessed: NewTimestamp, modified: NewTimestamp);
        "stat" = stat(fd: Fd);
        "stat-at" = stat_at(fd: Fd, flags: PathFlags, path: String);
        "symlink-at" = symlink_at(fd: Fd, path: String, name: String);
        "sync" = sync(fd: Fd);
        "sync-data" = sync(fd: Fd);
        "unlink-file-at" = unlink_file_at(fd: Fd, path: String);
        "write" = write(fd: Fd, bytes: Vec<u8>, offset: u64);
        "read-via-stream" = read_via_stream(fd: Fd, offset: u64);
        "write-via-stream" = write_via_stream(fd: Fd, offset: u64);
        "append-via-stream" = append_via_stream(fd: Fd);
    }
    types.func_wrap_async(
        "[method]descriptor.is-same-object",
        |mut store: Store<'_, T>, (fd, other): (Fd, Fd)| {
            Box::new(async move {
                let mut ctx = store.data_mut().files();
                match is_same_object(&mut ctx, fd, other).await {
                    Ok(same) => Ok((same,)),
                    Err(error) => Err(error.downcast().map_or_else(|trap| trap, wasmtime::Error::from)),
                }
            })
        },
    )?;
    types.resource("descriptor", ResourceType::host::<Descriptor>(), |mut store, rep| {
        let ctx = store.data_mut().files();
        let descriptor = ctx.table.delete(Resource::<Descriptor>::new_own(rep))?;
        ctx.files.close(descriptor);
        Ok(())
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// An error code is a result for the component; any other error ends the call.
fn answer<T>(result: FsResult<T>) -> wasmtime::Result<(Result<T, ErrorCode>,)> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

async fn advise(ctx: &mut FilesCtx<'_>, fd: Fd, offset: u64, length: u64, advice: Advice) -> FsResult<()> {
    // It can cause reads from the disk.
    ctx.files.budget.charge_change()?;
    apart!(ctx, fd; |files| files.advise(fd, offset, length, advice).await)
}

async fn get_flags(ctx: &mut FilesCtx<'_>, fd: Fd) -> FsResult<DescriptorFlags> {
    apart!(ctx, fd; |files| files.get_flags(fd).await)
}

async fn get_type(ctx: &mut FilesCtx<'_>, fd: Fd) -> FsResult<DescriptorType> {
    apart!(ctx, fd; |files| files.get_type(fd).await)
}

async fn stat(ctx: &mut FilesCtx<'_>, fd: Fd) -> FsResult<DescriptorStat> {
    apart!(ctx, fd; |files| files.stat(fd).await)
}

async fn stat_at(ctx: &mut FilesCtx<'_>, fd: Fd, flags: PathFlags, path: String) -> FsResult<DescriptorStat> {
    apart!(ctx, fd; |files| files.stat_at(fd, flags, path).await)
}

async fn metadata_hash(ctx: &mut FilesCtx<'_>, fd: Fd) -> FsResult<MetadataHashValue> {
    apart!(ctx, fd; |files| files.metadata_hash(fd).await)
}

async fn metadata_hash_at(
    ctx: &mut FilesCtx<'_>,
    fd: Fd,
    flags: PathFlags,
    path: String,
) -> FsResult<MetadataHashValue> {
    apart!(ctx, fd; |files| files.metadata_hash_at(fd, flags, path).await)
}

async fn is_same_object(ctx: &mut FilesCtx<'_>, fd: Fd, other: Fd) -> FsResult<bool> {
    apart!(ctx, fd, other; |files| files.is_same_object(fd, other).await.map_err(FsError::trap))
}

async fn readlink_at(ctx: &mut FilesCtx<'_>, fd: Fd, path: String) -> FsResult<String> {
    apart!(ctx, fd; |files| files.readlink_at(fd, path).await)
}

async fn read(ctx: &mut FilesCtx<'_>, fd: Fd, length: u64, offset: u64) -> FsResult<(Vec<u8>, bool)> {
    apart!(ctx, fd; |files| files.read(fd, length, offset).await)
}

/// Opening a FIFO would block until someone opens its other end; opening a device can have any effect.
async fn open_at(
    ctx: &mut FilesCtx<'_>,
    fd: Fd,
    path_flags: PathFlags,
    path: String,
    open_flags: OpenFlags,
    flags: DescriptorFlags,
) -> FsResult<Fd> {
    may_open(ctx)?;
    let opening = Opening::new(path_flags, open_flags, flags)?;
    let folder = match ctx.table.get(&fd)? {
        Descriptor::Dir(folder) => folder.clone(),
        Descriptor::File(_) => return Err(ErrorCode::NotDirectory.into()),
    };
    if folder.perms.write_not_permitted() && opening.mode.contains(OpenMode::WRITE) {
        return Err(ErrorCode::NotPermitted.into());
    }
    if open_flags.contains(OpenFlags::TRUNCATE) {
        ctx.files.budget.charge_change()?;
    }
    match stat_at(ctx, fd, path_flags, path.clone()).await {
        Ok(found) => match found.type_ {
            DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink => {}
            _ => return Err(ErrorCode::NotPermitted.into()),
        },
        Err(error) => match error.downcast().map_err(FsError::trap)? {
            ErrorCode::NoEntry if open_flags.contains(OpenFlags::CREATE) => ctx.files.budget.charge(ENTRY_BYTES)?,
            code => return Err(code.into()),
        },
    }
    let folder = Held::new(ctx.files, Descriptor::Dir(folder));
    let ours = ctx.files.clone();
    let opened = async move {
        let files = folder.files().clone();
        let opened = on_blocking_thread(move || opening.open(folder.descriptor(), &path)).await?;
        Ok(Held::new(&files, opened?))
    };
    let opened = ours.run(opened).await?;
    // Held until it is in the table, which can be full.
    let descriptor = opened.descriptor().ok_or(ErrorCode::BadDescriptor)?.clone();
    Ok(ctx.table.push(descriptor)?)
}

/// A stream keeps its file open after the descriptor is dropped.
fn may_open(ctx: &mut FilesCtx<'_>) -> Result<(), ErrorCode> {
    let is_open = |entry: &&mut (dyn Any + Send)| {
        entry.is::<Descriptor>() || entry.is::<DynInputStream>() || entry.is::<DynOutputStream>()
    };
    match ctx.table.iter_mut().filter(is_open).count() < MAX_OPEN {
        true => Ok(()),
        false => Err(ErrorCode::Quota),
    }
}

async fn create_directory_at(ctx: &mut FilesCtx<'_>, fd: Fd, path: String) -> FsResult<()> {
    let budget = ctx.files.budget.clone();
    budget.charge_change()?;
    budget.charge(ENTRY_BYTES)?;
    let made = apart!(ctx, fd; |files| files.create_directory_at(fd, path).await);
    if made.is_err() {
        // Usually it exists already.
        budget.refund(ENTRY_BYTES);
    }
    made
}

async fn remove_directory_at(ctx: &mut FilesCtx<'_>, fd: Fd, path: String) -> FsResult<()> {
    ctx.files.budget.charge_change()?;
    apart!(ctx, fd; |files| files.remove_directory_at(fd, path).await)
}

async fn unlink_file_at(ctx: &mut FilesCtx<'_>, fd: Fd, path: String) -> FsResult<()> {
    ctx.files.budget.charge_change()?;
    apart!(ctx, fd; |files| files.unlink_file_at(fd, path).await)
}

async fn rename_at(ctx: &mut FilesCtx<'_>, fd: Fd, path: String, to: Fd, name: String) -> FsResult<()> {
    ctx.files.budget.charge_change()?;
    apart!(ctx, fd, to; |files| files.rename_at(fd, path, to, name).await)
}

/// Refused: a link would not lead a guest out of its folder, but it could lead other programs that follow it.
async fn symlink_at(_: &mut FilesCtx<'_>, _: Fd, _: String, _: String) -> FsResult<()> {
    Err(ErrorCode::NotPermitted.into())
}

/// Refused: a second name would outlive the grant of the first.
async fn link_at(_: &mut FilesCtx<'_>, _: Fd, _: PathFlags, _: String, _: Fd, _: String) -> FsResult<()> {
    Err(ErrorCode::NotPermitted.into())
}

async fn set_times(ctx: &mut FilesCtx<'_>, fd: Fd, accessed: NewTimestamp, modified: NewTimestamp) -> FsResult<()> {
    ctx.files.budget.charge_change()?;
    apart!(ctx, fd; |files| files.set_times(fd, accessed, modified).await)
}

async fn set_times_at(
    ctx: &mut FilesCtx<'_>,
    fd: Fd,
    _: PathFlags,
    path: String,
    accessed: NewTimestamp,
    modified: NewTimestamp,
) -> FsResult<()> {
    ctx.files.budget.charge_change()?;
    // Following a link would open its target, and block on a FIFO.
    let flags = PathFlags::empty();
    apart!(ctx, fd; |files| files.set_times_at(fd, flags, path, accessed, modified).await)
}

/// Syncs data and metadata; syncing the data alone is the same work for the disk.
async fn sync(ctx: &mut FilesCtx<'_>, fd: Fd) -> FsResult<()> {
    ctx.files.budget.charge_change()?;
    apart!(ctx.files.for_syncs(), ctx, fd; |files| files.sync(fd).await)
}

async fn read_directory(ctx: &mut FilesCtx<'_>, fd: Fd) -> FsResult<Resource<DirectoryEntryStream>> {
    let entries = ctx.table.iter_mut();
    if entries.filter(|entry| entry.is::<DirectoryEntryStream>()).count() >= MAX_LISTINGS {
        return Err(ErrorCode::Quota.into());
    }
    let (listing, entries) = apart!(ctx, fd; |files| {
        let mut entries = 0;
        if let Descriptor::Dir(folder) = files.table.get(&fd)? {
            let folder = folder.dir.clone();
            let count = move || Ok::<_, std::io::Error>(rustix::fs::Dir::read_from(&folder)?.take(MAX_ENTRIES + 1).count());
            entries = on_blocking_thread(count).await?;
            if entries > MAX_ENTRIES {
                return Err(ErrorCode::Overflow.into());
            }
        }
        let listing = files.read_directory(fd).await?;
        Ok((files.table.delete(listing)?, entries))
    })?;
    ctx.memory.hold(entries * HELD_FOR_AN_ENTRY).map_err(FsError::trap)?;
    Ok(ctx.table.push(listing)?)
}

/// Charges the bytes written and the gap before them: a sparse file takes up space as well, sooner or later.
async fn charge_write(ctx: &mut FilesCtx<'_>, fd: &Fd, offset: u64, bytes: u64) -> FsResult<()> {
    let now = stat(ctx, Resource::new_borrow(fd.rep())).await?.size;
    let gap = offset.saturating_sub(now);
    ctx.files.budget.charge(gap.saturating_add(bytes))?;
    Ok(())
}

async fn write(ctx: &mut FilesCtx<'_>, fd: Fd, bytes: Vec<u8>, offset: u64) -> FsResult<u64> {
    charge_write(ctx, &fd, offset, bytes.len() as u64).await?;
    apart!(ctx, fd; |files| files.write(fd, bytes, offset).await)
}

/// Growing a file takes up space even if nothing is written into it.
async fn set_size(ctx: &mut FilesCtx<'_>, fd: Fd, size: u64) -> FsResult<()> {
    ctx.files.budget.charge_change()?;
    charge_write(ctx, &fd, size, 0).await?;
    apart!(ctx, fd; |files| files.set_size(fd, size).await)
}

async fn read_via_stream(ctx: &mut FilesCtx<'_>, fd: Fd, offset: u64) -> FsResult<Resource<DynInputStream>> {
    may_open(ctx)?;
    let file = file(ctx, &fd)?;
    if !file.open_mode.contains(OpenMode::READ) {
        return Err(ErrorCode::BadDescriptor.into());
    }
    let stream: DynInputStream = Box::new(FileReader::new(ctx.files, file, offset));
    ctx.memory.hold(PIECE).map_err(FsError::trap)?;
    Ok(ctx.table.push(stream)?)
}

async fn write_via_stream(ctx: &mut FilesCtx<'_>, fd: Fd, offset: u64) -> FsResult<Resource<DynOutputStream>> {
    may_open(ctx)?;
    charge_write(ctx, &fd, offset, 0).await?;
    writer(ctx, &fd, WritePosition::At(offset))
}

async fn append_via_stream(ctx: &mut FilesCtx<'_>, fd: Fd) -> FsResult<Resource<DynOutputStream>> {
    may_open(ctx)?;
    writer(ctx, &fd, WritePosition::End)
}

fn writer(ctx: &mut FilesCtx<'_>, fd: &Fd, position: WritePosition) -> FsResult<Resource<DynOutputStream>> {
    let file = file(ctx, fd)?;
    if file.perms.write_not_permitted() || !file.open_mode.contains(OpenMode::WRITE) {
        return Err(ErrorCode::BadDescriptor.into());
    }
    let stream: DynOutputStream = Box::new(FileWriter::new(ctx.files, file, position));
    ctx.memory.hold(PIECE).map_err(FsError::trap)?;
    Ok(ctx.table.push(stream)?)
}

fn file<'a>(ctx: &'a FilesCtx<'_>, fd: &Fd) -> FsResult<&'a File> {
    match ctx.table.get(fd)? {
        Descriptor::File(file) => Ok(file),
        Descriptor::Dir(_) => Err(ErrorCode::IsDirectory.into()),
    }
}
