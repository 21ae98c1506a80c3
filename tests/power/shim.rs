//! Loaded before the C library into the program under test (`LD_PRELOAD`), so that a test can take its power away, and can see in
//! which order it flushes files and sends bytes. `tests/src/power.rs` is the other half; `tests/build.rs` builds this one.
//!
//! Files below `COFFERDAM_TEST_DATA` aren't flushed. Instead, each `fsync` copies the file into the folder `COFFERDAM_TEST_DISK`: that
//! is what the disk has of it. An `fsync` of the folder itself copies the list of its names.
//!
//! With `COFFERDAM_TEST_TRACE`, a line of that file says what was flushed, once it is, or to which port bytes are sent, before they
//! are. So what stands above a line happened before it, in all processes.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::fs::{File, OpenOptions};
use std::io::{Error, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn getpeername(socket: c_int, address: *mut u8, length: *mut u32) -> c_int;
}

/// "The next one in the order of loading."
const RTLD_NEXT: *mut c_void = -1_isize as *mut c_void;
const AF_INET: u16 = 2;

struct Setting {
    data: PathBuf,
    disk: PathBuf,
    trace: Option<File>,
}

fn setting() -> Option<&'static Setting> {
    static SETTING: OnceLock<Option<Setting>> = OnceLock::new();
    let read = || {
        let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let trace = path("COFFERDAM_TEST_TRACE");
        Some(Setting {
            data: path("COFFERDAM_TEST_DATA")?,
            disk: path("COFFERDAM_TEST_DISK")?,
            trace: trace.and_then(|path| OpenOptions::new().append(true).create(true).open(path).ok()),
        })
    };
    SETTING.get_or_init(read).as_ref()
}

thread_local! {
    /// What this library itself does isn't looked at.
    static IS_BUSY: Cell<bool> = const { Cell::new(false) };
}

fn apart(work: impl FnOnce(&Setting)) {
    // A thread that ends has no flag any more, and does nothing of interest.
    if IS_BUSY.try_with(|busy| busy.replace(true)) == Ok(false) {
        if let Some(setting) = setting() {
            work(setting);
        }
        IS_BUSY.set(false);
    }
}

fn trace(setting: &Setting, line: &str) {
    if let Some(mut trace) = setting.trace.as_ref() {
        // One write each, which appends as a whole.
        let _ = trace.write_all(format!("{line}\n").as_bytes());
    }
}

/// A test must not go on with half a disk.
fn or_die<T>(result: Result<T, Error>) -> T {
    result.unwrap_or_else(|error| {
        eprintln!("the shim can't copy what is flushed: {error}");
        std::process::abort()
    })
}

/// Puts the bytes of an open file, or the names in an open folder, onto the disk of the test. Whether it is one of its files.
fn flush(setting: &Setting, fd: c_int) -> bool {
    let Ok(path) = std::fs::read_link(format!("/proc/self/fd/{fd}")) else {
        return false;
    };
    let name = match path.strip_prefix(&setting.data) {
        Ok(name) if name == Path::new("") => Path::new("names"),
        Ok(name) if name.components().count() == 1 => name,
        _ => return false,
    };
    let (folder, is_folder) = match path == setting.data {
        true => (setting.disk.clone(), true),
        false => (setting.disk.join("files"), false),
    };
    // Two processes can flush the same file: the later copy must win, which has the bytes of both.
    let lock = or_die(File::create(setting.disk.join("lock")));
    or_die(lock.lock());
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let copy = setting.disk.join(format!("copying-{}-{count}", std::process::id()));
    let mut to = or_die(File::create(&copy));
    if is_folder {
        for entry in or_die(std::fs::read_dir(&path)) {
            or_die(writeln!(to, "{}", or_die(entry).file_name().to_string_lossy()));
        }
    } else {
        // Through the caller's descriptor: closing another one of the same file would drop the locks that SQLite holds on it.
        let from = std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
        let (mut buffer, mut offset) = (vec![0; 1 << 16], 0);
        loop {
            let count = or_die(from.read_at(&mut buffer, offset));
            if count == 0 {
                break;
            }
            or_die(to.write_all(&buffer[..count]));
            offset += count as u64;
        }
    }
    // A process that is killed meanwhile leaves the copy of before.
    or_die(std::fs::rename(&copy, folder.join(name)));
    trace(setting, &format!("flushed {}", name.display()));
    true
}

/// The port at the other end of a socket.
fn peer_port(fd: c_int) -> Option<u16> {
    let (mut address, mut length) = ([0_u8; 128], 128);
    let found = unsafe { getpeername(fd, address.as_mut_ptr(), &raw mut length) };
    let family = u16::from_ne_bytes([address[0], address[1]]);
    (found == 0 && family == AF_INET).then(|| u16::from_be_bytes([address[2], address[3]]))
}

fn sends(fd: c_int) {
    apart(|setting| {
        if setting.trace.is_some()
            && let Some(port) = peer_port(fd)
        {
            trace(setting, &format!("sends {port}"));
        }
    });
}

/// The C library's own function.
macro_rules! real {
    ($name:literal, $type:ty) => {{
        static REAL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
        let mut real = REAL.load(Ordering::Relaxed);
        if real.is_null() {
            real = unsafe { dlsym(RTLD_NEXT, $name.as_ptr()) };
            REAL.store(real, Ordering::Relaxed);
        }
        unsafe { std::mem::transmute::<*mut c_void, $type>(real) }
    }};
}

fn synced(fd: c_int, real: unsafe extern "C" fn(c_int) -> c_int) -> c_int {
    let mut is_ours = false;
    apart(|setting| is_ours = flush(setting, fd));
    match is_ours {
        true => 0,
        false => unsafe { real(fd) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    synced(fd, real!(c"fsync", unsafe extern "C" fn(c_int) -> c_int))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    synced(fd, real!(c"fdatasync", unsafe extern "C" fn(c_int) -> c_int))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, count: usize) -> isize {
    sends(fd);
    let real = real!(c"write", unsafe extern "C" fn(c_int, *const c_void, usize) -> isize);
    unsafe { real(fd, bytes, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, parts: *const c_void, count: c_int) -> isize {
    sends(fd);
    let real = real!(c"writev", unsafe extern "C" fn(c_int, *const c_void, c_int) -> isize);
    unsafe { real(fd, parts, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn send(fd: c_int, bytes: *const c_void, count: usize, flags: c_int) -> isize {
    sends(fd);
    let real = real!(c"send", unsafe extern "C" fn(c_int, *const c_void, usize, c_int) -> isize);
    unsafe { real(fd, bytes, count, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendmsg(fd: c_int, message: *const c_void, flags: c_int) -> isize {
    sends(fd);
    let real = real!(c"sendmsg", unsafe extern "C" fn(c_int, *const c_void, c_int) -> isize);
    unsafe { real(fd, message, flags) }
}
