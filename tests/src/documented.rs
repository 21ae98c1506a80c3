//! Parts of documents that tests measure and write.

use std::fs::{self, File};
use std::path::Path;

/// Set to any value, it makes tests rewrite such parts instead of comparing them.
const REWRITE: &str = "UPDATE_DOCS";

/// Checks that the part `name` of a document in `host/docs/`, between two comments that name it, is `text`.
///
/// # Panics
///
/// It is another text, and `UPDATE_DOCS` isn't set.
pub fn check_documented(document: &str, name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../host/docs")
        .join(document);
    // Several tests write parts of one document, each in a process of its own.
    let lock = File::open(&path).unwrap();
    lock.lock().unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    let (begin, end) = (
        format!("<!-- {name}: written by a test -->\n"),
        format!("\n<!-- {name}: end -->"),
    );
    let (before, rest) = whole
        .split_once(&begin)
        .unwrap_or_else(|| panic!("{document} has no `{begin}`"));
    let (found, after) = rest
        .split_once(&end)
        .unwrap_or_else(|| panic!("{document} has no `{end}`"));
    let text = text.trim_end();
    if found == text {
        return;
    }
    if std::env::var_os(REWRITE).is_some() {
        fs::write(&path, [before, &begin, text, &end, after].concat()).unwrap();
        return;
    }
    let different = found.lines().zip(text.lines()).find(|(found, text)| found != text);
    let (found, text) = different.unwrap_or(("(another number of lines)", ""));
    panic!(
        "host/docs/{document} doesn't have what was measured; run this test again with {REWRITE}=1\n\
         documented: {found}\n  measured: {text}"
    );
}
