//! The documents: links lead somewhere, the map names every folder, and the README stays short.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cofferdam::config::{Config, LoadOptions};
use cofferdam::events::{Ending, Outcome};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(document: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(document)).unwrap()
}

/// Every Markdown file of the repository. Build folders and hidden folders aren't part of it.
fn documents() -> Vec<PathBuf> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if path.is_dir() && !["target", "node_modules"].contains(&&*name) && !name.starts_with('.') {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&root(), &mut found);
    found
}

/// The lines of a document outside of fenced code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The bodies of the fenced code blocks in `language`.
fn code_blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let blocks = text.split(fence.as_str()).skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The targets of the links in a document.
fn links(text: &str) -> Vec<&str> {
    let ends = prose(text).flat_map(|line| line.split("](").skip(1));
    ends.filter_map(|rest| rest.split(')').next()).collect()
}

/// The anchors of a document's headings, made as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let anchors = headings.map(|heading| {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor = kept.collect::<String>().replace(' ', "-");
        let times = seen.entry(anchor.clone()).or_default();
        *times += 1;
        match *times {
            1 => anchor,
            _ => format!("{anchor}-{}", *times - 1),
        }
    });
    anchors.collect()
}

/// What is wrong with the links of a document in the folder `folder`.
fn broken_links(text: &str, folder: &Path) -> Vec<String> {
    let broken = |link: &&str| {
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        if path.contains("://") {
            return false;
        }
        let target = folder.join(path);
        if !target.exists() {
            return true;
        }
        let target = match path {
            "" => text.to_owned(),
            _ if path.ends_with(".md") => std::fs::read_to_string(target).unwrap(),
            // Anchors of other files, such as lines of code, move with every change.
            _ => return !anchor.is_empty(),
        };
        !anchor.is_empty() && !anchors(&target).contains(anchor)
    };
    links(text).into_iter().filter(broken).map(str::to_owned).collect()
}

#[test]
fn links_lead_somewhere() {
    let documents = documents();
    assert!(documents.len() > 5, "{documents:?}");
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        let broken = broken_links(&text, document.parent().unwrap());
        assert_eq!(broken, Vec::<String>::new(), "{}", document.display());
    }
}

#[test]
fn a_broken_link_is_found() {
    let broken = |text: &str| broken_links(text, &root());
    let text =
        "# A `b`: c\n[1](LICENSE) [2](#a-b-c) [3](https://example.org/#x)\n```\n# not a heading\n[4](no/code)\n```\n";
    assert_eq!(broken(text), Vec::<String>::new());
    for (link, what) in [
        ("NO_SUCH_FILE.md", "file"),
        ("#not-a-heading", "anchor of the same document"),
        ("README.md#no-such-heading", "anchor of another document"),
        ("Cargo.toml#L1", "line of a file"),
    ] {
        assert_eq!(broken(&format!("# Not\n[text]({link})\n")), [link], "{what}");
    }
    assert!(anchors("## Same\n## Same\n").contains("same-1"));
}

#[test]
fn the_readme_stays_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 120, "README.md has {lines} lines; move details to host/docs");
}

/// `.ci/run` runs these two, so that what the README promises is what was tested.
#[test]
fn the_readme_has_the_commands_that_are_tested() {
    let (readme, ci) = (read("README.md"), read(".ci/run"));
    for (command, tested) in [
        ("$ cargo run -- demo\n", "cargo run --locked -- demo"),
        ("$ cargo test --workspace\n", "cargo test --workspace --locked"),
    ] {
        assert!(readme.contains(command), "README.md: {command}");
        assert!(ci.contains(tested), ".ci/run: {tested}");
    }
}

#[test]
fn configurations_in_the_documents_are_valid() {
    for document in [
        "README.md",
        "host/docs/models.md",
        "host/docs/programs.md",
        "host/docs/writing-a-tool.md",
    ] {
        let text = read(document);
        let blocks = code_blocks(&text, "toml");
        let blocks = blocks.iter().filter(|block| !block.contains("[package]"));
        let mut checked = 0;
        for block in blocks {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("cofferdam.toml"), block).unwrap();
            // What a configuration names has to be there, and isn't looked at.
            std::fs::write(folder.path().join("prices.toml"), "").unwrap();
            let components = block.split("component = \"").skip(1);
            for component in components.map(|rest| folder.path().join(rest.split('"').next().unwrap())) {
                std::fs::create_dir_all(component.parent().unwrap()).unwrap();
                std::fs::write(component, "").unwrap();
            }
            let options = LoadOptions {
                file: None,
                env: BTreeMap::new(),
                cwd: folder.path().to_owned(),
                ..LoadOptions::default()
            };
            if let Err(error) = Config::load_from(&options) {
                panic!("{document}: {error}\n{block}");
            }
            checked += 1;
        }
        assert!(checked > 0, "{document}");
    }
}

const FAILURES: &str = "host/docs/failures.md";

/// The cells of every row of the tables in a document, without the headings' rules.
fn table_rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = prose(text).filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    lines.map(|line| line.split('|').map(str::trim).collect())
}

/// What stands between backticks.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_ending_and_every_outcome_is_a_documented_failure() {
    let text = read(FAILURES);
    let rows: Vec<Vec<&str>> = table_rows(&text).collect();
    for ending in Ending::ALL {
        let name = format!("`{ending}`");
        assert!(
            rows.iter().any(|row| row[1].contains(&name)),
            "{FAILURES}: no row ends as {name}"
        );
    }
    for outcome in Outcome::ALL {
        let name = format!("`{outcome}`");
        let found = rows.iter().filter(|row| row[0] == name).count();
        assert_eq!(found, 1, "{FAILURES}: rows of the outcome {name}");
    }
}

#[test]
fn documented_failures_name_tests_that_exist() {
    let text = read(FAILURES);
    let (_, of_the_api) = text.split_once("\n## API statuses\n").unwrap();
    let (of_the_api, _) = of_the_api.split_once("\n## Tools\n").unwrap();
    let (_, measured) = text.split_once("\n## Every fault, as measured\n").unwrap();
    let measured: Vec<&str> = table_rows(measured).map(|row| row[0]).collect();
    let cuts = read("tests/e2e/api_faults/cuts.rs");
    let mut named = 0;
    for row in table_rows(of_the_api) {
        for test in code_spans(row.last().unwrap()) {
            let exists = measured.contains(&test) || cuts.contains(&format!("fn {test}("));
            assert!(exists, "{FAILURES}: no test `{test}`");
            named += 1;
        }
    }
    assert!(named > 50, "{named}");
}

/// A document of failures must not send an operator to keys that don't exist.
#[test]
fn documented_failures_name_keys_that_exist() {
    let (text, keys) = (read(FAILURES), read("host/examples/cofferdam.toml"));
    let mut named = 0;
    for span in code_spans(&text).filter_map(|span| span.strip_prefix('[')) {
        let Some((section, key)) = span.split_once("] ") else {
            continue;
        };
        if section == "degraded" {
            continue;
        }
        let (_, of_section) = keys
            .split_once(&format!("\n[{section}]"))
            .unwrap_or_else(|| panic!("[{section}]"));
        let of_section = of_section.split("\n[").next().unwrap();
        assert!(
            of_section.contains(&format!("\n{key} = ")),
            "{FAILURES}: `[{section}] {key}`"
        );
        named += 1;
    }
    assert!(named > 20, "{named}");
}

const MAP: &str = "host/docs/architecture.md";

#[test]
fn the_map_names_every_folder_of_the_host() {
    let map = read(MAP);
    for entry in std::fs::read_dir(root().join("host/src")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            assert!(map.contains(&format!("`{name}/`")), "{MAP} doesn't mention `{name}/`");
        }
    }
}

/// Code spans with a slash that end like a file or a folder are paths, of the repository or of `host/src`.
#[test]
fn the_map_names_no_path_that_is_gone() {
    let map = read(MAP);
    let spans = prose(&map).flat_map(|line| line.split('`').skip(1).step_by(2));
    let paths: Vec<&str> = spans
        .filter(|span| span.contains('/') && !span.contains(' '))
        .filter(|span| span.ends_with('/') || [".rs", ".toml"].iter().any(|end| span.ends_with(end)))
        .collect();
    assert!(paths.len() > 40, "{paths:?}");
    let places = ["host/src", ""].map(|folder| root().join(folder));
    let gone: Vec<&str> = paths
        .into_iter()
        .filter(|path| !places.iter().any(|place| place.join(path).exists()))
        .collect();
    assert_eq!(gone, Vec::<&str>::new());
}

/// A figure that was to be filled in, or a table that was to be measured.
#[test]
fn no_document_has_a_gap() {
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for (number, line) in text.lines().enumerate() {
            let is_marker = |word: &str| {
                let inner = word
                    .strip_prefix('@')
                    .and_then(|rest| rest.split_once('@'))
                    .map(|(inner, _)| inner);
                inner
                    .is_some_and(|inner| !inner.is_empty() && inner.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
            };
            let has_marker = line.split_whitespace().any(is_marker);
            let cells = line.trim().strip_prefix('|').and_then(|rest| rest.strip_suffix('|'));
            let is_empty_row = cells.is_some_and(|cells| cells.split('|').all(|cell| cell.trim().is_empty()));
            assert!(
                !has_marker && !is_empty_row,
                "{}:{}: {line}",
                document.display(),
                number + 1
            );
        }
    }
}
