//! Which configuration file is read.

use std::fs;

use super::*;
use crate::config::Folders;

struct Home {
    root: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("config")).unwrap();
        fs::create_dir_all(root.path().join("work/sub")).unwrap();
        Self { root }
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.root.path().join(path), text).unwrap();
    }

    fn load(&self, file: Option<&str>) -> Result<Config, ConfigError> {
        let at = |name: &str| self.root.path().join(name);
        Config::load_from(&LoadOptions {
            file: file.map(Into::into),
            cwd: at("work"),
            folders: Some(Folders {
                config: at("config"),
                data: at("data"),
                cache: at("cache"),
            }),
            ..nowhere(&[])
        })
    }

    fn agent(&self, file: Option<&str>) -> String {
        self.load(file).unwrap().agent.name
    }
}

#[test]
fn the_first_file_in_search_order_is_read() {
    let home = Home::new();
    assert_eq!(
        (home.agent(None).as_str(), home.load(None).unwrap().origins.file()),
        ("agent", None)
    );
    home.write("config/cofferdam.toml", "agent.name = \"user\"");
    assert_eq!(home.agent(None), "user");
    home.write("work/cofferdam.toml", "agent.name = \"here\"");
    assert_eq!(home.agent(None), "here");
    home.write("work/sub/other.toml", "agent.name = \"named\"");
    assert_eq!(home.agent(Some("sub/other.toml")), "named");
    let config = home.load(Some("sub/other.toml")).unwrap();
    assert_eq!(
        config.origins.file(),
        Some(home.root.path().join("work/sub/other.toml").as_path())
    );
    assert_eq!(config.engine.cache_dir, Some(home.root.path().join("cache")));
}

#[test]
fn paths_are_relative_to_the_file() {
    let home = Home::new();
    home.write("work/sub/x.wasm", "");
    home.write(
        "work/sub/c.toml",
        "plugins.x.component = \"x.wasm\"\nstorage.path = \"../data\"",
    );
    let config = home.load(Some("sub/c.toml")).unwrap();
    let source = format!("{:?}", config.plugins[0].source);
    assert!(source.contains("work/sub/x.wasm"), "{source}");
    assert!(config.ledger_path().ends_with("work/sub/../data/ledger.sqlite3"));
}

#[test]
fn an_unreadable_file_is_a_problem() {
    let home = Home::new();
    let error = home.load(Some("none.toml")).unwrap_err().to_string();
    assert!(
        error.contains("\n  none.toml: can't be read: ") && error.contains("--config"),
        "{error}"
    );
    fs::write(home.root.path().join("work/cofferdam.toml"), b"agent.name = \"\xff\"").unwrap();
    assert!(home.load(None).unwrap_err().to_string().contains("UTF-8"));
    home.write("work/cofferdam.toml", &"#".repeat(1024 * 1024 + 1));
    assert!(home.load(None).unwrap_err().to_string().contains("larger than 1 MiB"));
    assert!(home.load(Some("sub")).is_err());
}

#[test]
fn a_link_to_nothing_is_not_taken_for_no_configuration() {
    let home = Home::new();
    std::os::unix::fs::symlink("gone.toml", home.root.path().join("work/cofferdam.toml")).unwrap();
    for file in [None, Some("cofferdam.toml")] {
        let error = home.load(file).unwrap_err().to_string();
        assert!(
            error.contains("cofferdam.toml: can't be read: ") && error.contains("symbolic link"),
            "{error}"
        );
    }
}

#[test]
fn problems_use_the_path_relative_to_the_current_folder() {
    let home = Home::new();
    home.write("work/cofferdam.toml", "x = 1");
    let error = home.load(None).unwrap_err().to_string();
    assert!(error.contains("\n  cofferdam.toml:1:1: x: unknown key"), "{error}");
}
