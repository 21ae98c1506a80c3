//! What the imports of a component mean to the operator who installs it.

use super::report::ImportReport;
use crate::sandbox::Import;

pub(super) fn import_report(import: &Import) -> ImportReport {
    ImportReport {
        name: import.name.clone(),
        meaning: import.meaning,
        grant: grant(import.name.raw()),
    }
}

/// What an operator writes into `[plugins.NAME]` to grant an import.
fn grant(interface: &str) -> Option<&'static str> {
    const GRANTS: [(&str, &str); 6] = [
        (
            "wasi:http/outgoing-handler",
            r#"http = [{ url = "https://…", methods = ["GET"] }]"#,
        ),
        ("wasi:config/", r#"config = { key = "…" }"#),
        ("wasi:keyvalue/", "keyvalue = true"),
        ("wasi:filesystem/", r#"files = [{ folder = "…", at = "/…" }]"#),
        ("wasi:cli/environment", r#"env = { NAME = "…" }, args = ["…"]"#),
        ("wasi:sockets/", "never granted"),
    ];
    let found = GRANTS.iter().find(|(prefix, _)| interface.starts_with(prefix));
    found.map(|(_, grant)| *grant)
}
