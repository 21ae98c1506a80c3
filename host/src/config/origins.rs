//! The origin of each value of a configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::problem::Origin;
use super::source::{Node, Value};

/// The origins that `config show` prints beside the values. A configuration made in code has none.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    pub(super) file: Option<PathBuf>,
    /// Where there was no file.
    pub(super) looked_at: Vec<PathBuf>,
    values: BTreeMap<Vec<String>, Origin>,
    /// Whether there is a table `[plugins]`, which can be empty.
    has_plugins: bool,
    /// The id of the model that `[model]` names, if a fallback has taken its place.
    pub(super) replaced_model: Option<String>,
}

impl Origins {
    pub(super) fn of(root: &Node) -> Self {
        let mut origins = Self {
            has_plugins: root.find(&["plugins"]).is_some(),
            ..Self::default()
        };
        origins.collect(root, &mut Vec::new());
        origins
    }

    /// Whether the first model's settings stand in `[[fallback_models]]`.
    pub const fn is_first_a_fallback(&self) -> bool {
        self.replaced_model.is_some()
    }

    /// The file that was read, if there was one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The files on which the configuration depends: the one that was read, or those that weren't there.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.file.iter().chain(&self.looked_at).map(PathBuf::as_path)
    }

    /// Says which file was read, or that there was none and where it was expected.
    pub fn summary(&self) -> String {
        let looked_at: Vec<String> = self.looked_at.iter().map(|path| path.display().to_string()).collect();
        match (&self.file, looked_at.is_empty()) {
            (Some(file), _) => format!("the configuration is {}", file.display()),
            (None, false) => format!("no configuration found; looked at {}", looked_at.join(" and ")),
            (None, true) => "no configuration was read".to_owned(),
        }
    }

    pub(super) fn has_plugins(&self) -> bool {
        self.has_plugins
    }

    /// Where a key was set. `None`: it has its default.
    pub fn of_key(&self, path: &[&str]) -> Option<&Origin> {
        let path: Vec<String> = path.iter().map(|&segment| segment.to_owned()).collect();
        self.find(&path)
    }

    /// The keys that are set, each by its path, with where that was.
    pub fn set(&self) -> impl Iterator<Item = (&[String], &Origin)> {
        self.values.iter().map(|(path, origin)| (path.as_slice(), origin))
    }

    fn collect(&mut self, node: &Node, path: &mut Vec<String>) {
        let children: Vec<(String, &Node)> = match &node.value {
            Value::Table(entries) => entries.iter().map(|(key, child)| (key.clone(), child)).collect(),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(at, item)| (at.to_string(), item))
                .collect(),
            _ => Vec::new(),
        };
        if !matches!(node.value, Value::Table(_)) {
            self.values.insert(path.clone(), node.origin.clone());
        }
        for (segment, child) in children {
            path.push(segment);
            self.collect(child, path);
            path.pop();
        }
    }

    /// The origin of the value at `path`: of its own key, or of the key that it inherits from. `None` for a default.
    pub(super) fn find(&self, path: &[String]) -> Option<&Origin> {
        let own = self.values.get(path);
        own.or_else(|| match path {
            [plugins, _, limits, key] if plugins == "plugins" && limits == "limits" => {
                self.values.get(&[limits.clone(), key.clone()][..])
            }
            [plugins, plugin, tools, _, breaker, key] if tools == "tools" && breaker == "breaker" => self
                .values
                .get(&[plugins.clone(), plugin.clone(), breaker.clone(), key.clone()][..]),
            _ => None,
        })
    }
}
