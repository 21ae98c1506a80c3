//! Files, as any plugin can use them: each operation of the standard library on request.

use std::fs::{self, OpenOptions};
use std::io::{self, Seek, Write};

use serde_json::{Value, json};

use crate::{Outcome, number, size, string};

pub fn files(input: &Value) -> Outcome {
    crate::json(&match done(input) {
        Ok(value) => value,
        Err(error) => json!({ "error": error.to_string() }),
    })
}

fn done(input: &Value) -> io::Result<Value> {
    let (path, to) = (string(input, "path", ""), string(input, "to", ""));
    match string(input, "do", "read") {
        "write" => fs::write(path, string(input, "text", ""))?,
        // In pieces, so that a part is written even if the rest is refused.
        "fill" => {
            let mut file = OpenOptions::new().create(true).append(true).open(path)?;
            let piece = vec![b'x'; 4096];
            (0..size(input, "bytes", 0).div_ceil(piece.len())).try_for_each(|_| file.write_all(&piece))?;
        }
        // The file is deleted while open, and closed only when the call ends.
        "fill_nameless" => {
            let mut file = fs::File::create(path)?;
            fs::remove_file(path)?;
            let piece = vec![b'x'; 65_536];
            (0..size(input, "bytes", 0).div_ceil(piece.len())).try_for_each(|_| file.write_all(&piece))?;
        }
        "list_again" => (0..number(input, "count", 1)).try_for_each(|_| list(path).map(drop))?,
        "grow" => OpenOptions::new()
            .write(true)
            .open(path)?
            .set_len(number(input, "bytes", 0))?,
        "create" => (0..number(input, "count", 1)).try_for_each(|number| fs::write(format!("{path}{number}"), ""))?,
        // One file, opened `count` times and never closed.
        "hold" => {
            let held = (0..number(input, "count", 1))
                .map(|_| fs::File::open(path))
                .collect::<io::Result<Vec<_>>>()?;
            return Ok(json!(held.len()));
        }
        // One file of the first folder, read by up to `count` streams at once.
        "streams" => return streams(path, number(input, "count", 1)),
        "listings" => return listings(number(input, "count", 1)),
        "sync" => {
            let file = OpenOptions::new().write(true).open(path)?;
            (0..number(input, "count", 1)).try_for_each(|_| file.sync_all())?;
        }
        // One byte at a large offset.
        "gap" => {
            let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(path)?;
            file.seek(io::SeekFrom::Start(number(input, "bytes", 0)))?;
            file.write_all(b"x")?;
        }
        "folder" => fs::create_dir(path)?,
        "remove" => fs::remove_file(path)?,
        "rename" => (0..number(input, "count", 1)).try_for_each(|_| fs::rename(path, to))?,
        "hard_link" => fs::hard_link(path, to)?,
        // Within the first folder. Calls WASI directly, because the standard library has no stable function for it.
        "symlink" => {
            let folders = wasip2::filesystem::preopens::get_directories();
            let (folder, _) = folders.first().ok_or(io::ErrorKind::NotFound)?;
            folder
                .symlink_at(path, to)
                .map_err(|code| io::Error::other(code.message()))?;
        }
        // With a count of zero: only the number of entries.
        "list" if number(input, "count", 1) == 0 => return Ok(json!(fs::read_dir(path)?.count())),
        "list" => return list(path),
        _ => return Ok(json!(fs::read_to_string(path)?)),
    }
    Ok(json!("done"))
}

fn list(path: &str) -> io::Result<Value> {
    let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(json!(names))
}

/// Opens up to `count` listings of the first folder at once.
fn listings(count: u64) -> io::Result<Value> {
    let folders = wasip2::filesystem::preopens::get_directories();
    let (folder, _) = folders.first().ok_or(io::ErrorKind::NotFound)?;
    let mut listings = Vec::new();
    while (listings.len() as u64) < count
        && let Ok(listing) = folder.read_directory()
    {
        listings.push(listing);
    }
    Ok(json!(listings.len()))
}

fn streams(path: &str, count: u64) -> io::Result<Value> {
    use wasip2::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};
    let other = |code: wasip2::filesystem::types::ErrorCode| io::Error::other(code.message());
    let folders = wasip2::filesystem::preopens::get_directories();
    let (folder, _) = folders.first().ok_or(io::ErrorKind::NotFound)?;
    let file = folder
        .open_at(PathFlags::empty(), path, OpenFlags::empty(), DescriptorFlags::READ)
        .map_err(other)?;
    let mut streams = Vec::new();
    while (streams.len() as u64) < count
        && let Ok(stream) = file.read_via_stream(0)
    {
        // Start a read without waiting for it.
        let _ = stream.read(65_536);
        streams.push(stream);
    }
    Ok(json!(streams.len()))
}
