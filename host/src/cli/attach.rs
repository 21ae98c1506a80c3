//! Files that are attached to a prompt.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::grants::quoted;
use super::{CliError, format};
use crate::events::LeftOutFile;
use crate::session::{MAX_IMAGES, MAX_REQUEST_IMAGE_BYTES};
use crate::transcript::{
    ATTACHMENT_TYPES, Attachment, AttachmentContent, MAX_ATTACHMENT_BYTES, MAX_ATTACHMENTS, is_torn, other_encoding,
};

/// The most bytes of an image: 10 MiB in base64. Source: the vendor's page on images.
const MAX_IMAGE_BYTES: u64 = 10 * 1024 * 1024 / 4 * 3;

/// Reads a file beside those that are `attached` already. `None` if it is one of them: a model would read it twice, for twice the cost.
///
/// # Errors
/// It can't be read, isn't a file, is empty, is too large, alone or with the others, or is of a type that no model reads.
pub fn read(path: &Path, attached: &[Attachment]) -> Result<Option<Attachment>, CliError> {
    let unreadable = |source| CliError::Read {
        path: path.to_owned(),
        source,
    };
    let name = path.display();
    let too_large = |together: &str| {
        CliError::usage(
            format!(
                "can't attach {name}: it is too large{together}; attachments can have {} together",
                format::bytes(MAX_ATTACHMENT_BYTES)
            ),
            "make it smaller, or attach less",
        )
    };
    if path.as_os_str() == "-" && !path.exists() {
        return Err(CliError::usage(
            "can't attach `-`: it isn't a file",
            "name a file; what is piped into `cofferdam run` is added to its prompt as text",
        ));
    }
    // Before it is opened: a pipe without a writer would block.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(CliError::usage(
            format!("can't attach {name}: it isn't a file"),
            "attach regular files; what is piped into stdin is added to the prompt as text",
        ));
    }
    let mut file = Vec::new();
    let opened = File::open(path).map_err(unreadable)?;
    opened
        .take(MAX_ATTACHMENT_BYTES + 1)
        .read_to_end(&mut file)
        .map_err(unreadable)?;
    if file.len() as u64 > MAX_ATTACHMENT_BYTES {
        return Err(too_large(""));
    }
    if file.is_empty() {
        return Err(CliError::usage(
            format!("can't attach {name}: it is empty"),
            "attach a file with something in it",
        ));
    }
    let file_name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let Some(attachment) = Attachment::of(&file_name, &file) else {
        return Err(match other_encoding(&file) {
            Some(encoding) => CliError::usage(
                format!("can't attach {name}: it isn't text in UTF-8, but may be in {encoding}"),
                format!(
                    "convert it first: iconv -f {encoding} -t UTF-8 {} > FILE",
                    quoted(&path.to_string_lossy())
                ),
            ),
            None => CliError::usage(
                format!("can't attach {name}: no model reads a file of its type"),
                format!("attach {ATTACHMENT_TYPES}; what counts is the content, not the name"),
            ),
        });
    };
    if is_torn(&file) {
        return Err(CliError::usage(
            format!("can't attach {name}: its end is missing, so that no model can read it"),
            "download or save the image again",
        ));
    }
    if matches!(attachment.content, AttachmentContent::Image(_)) && attachment.bytes > MAX_IMAGE_BYTES {
        return Err(CliError::usage(
            format!(
                "can't attach {name}: an image can have {}",
                format::bytes(MAX_IMAGE_BYTES)
            ),
            "make it smaller: models scale large images down anyway",
        ));
    }
    if attached.contains(&attachment) {
        return Ok(None);
    }
    if attached.len() >= MAX_ATTACHMENTS {
        return Err(CliError::usage(
            format!("can't attach {name}: a prompt can have {MAX_ATTACHMENTS} attachments"),
            "attach fewer files, or put texts together",
        ));
    }
    let together = attached
        .iter()
        .fold(attachment.bytes, |sum, other| sum.saturating_add(other.bytes));
    if together > MAX_ATTACHMENT_BYTES {
        return Err(too_large(" with the others"));
    }
    Ok(Some(attachment))
}

/// The files that a line names: one that is called like all of it, else as a shell reads words, with quotes, backslashes and `~`. A quote
/// may be left open, as Tab leaves it.
pub fn paths(line: &str) -> Vec<PathBuf> {
    let words = |line: &str| {
        let words = shlex::split(line).filter(|words| !words.is_empty())?;
        Some(words.iter().map(|word| in_home(word)).collect::<Vec<_>>())
    };
    let closed = |quote: char| words(&format!("{line}{quote}")).filter(|paths| paths.iter().all(|path| path.exists()));
    let paths = match Path::new(line).exists() {
        true => None,
        false => words(line).or_else(|| ['"', '\''].into_iter().find_map(closed)),
    };
    paths.unwrap_or_else(|| vec![PathBuf::from(line)])
}

/// A path in which `~` is the home folder.
pub fn in_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), etcetera::home_dir()) {
        (Some(rest), Ok(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// Says that a file is one of those that are attached.
pub fn already(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    format!("{} is attached already.", format::one_line(&name, 64))
}

/// Its name, type and size.
pub fn describe(attachment: &Attachment) -> String {
    described(&attachment.name, attachment.media_type(), attachment.bytes)
}

/// Its name and size, where it is left out of a request.
pub fn left_out(file: &LeftOutFile) -> String {
    format!("{} ({})", format::one_line(&file.name, 64), format::bytes(file.bytes))
}

/// Why newer images and PDFs leave no room for older ones.
pub fn crowded_out() -> String {
    format!(
        "a request has room for {MAX_IMAGES} images and PDFs, and {} of them in base64",
        format::bytes(MAX_REQUEST_IMAGE_BYTES as u64)
    )
}

/// Its name, type and size, from what a session keeps.
pub fn described(name: &str, media_type: &str, bytes: u64) -> String {
    let (name, media_type) = (format::one_line(name, 64), format::one_line(media_type, 64));
    format!("{name} ({media_type}, {})", format::bytes(bytes))
}
