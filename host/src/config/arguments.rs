//! What a command line sets: keys of the configuration, and plugins with what they are granted. It overrides files and variables,
//! and is checked as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::problem::{Origin, Problem};
use super::source::{Misplaced, Node, Value, read_argument};
use crate::tools::ComponentSource;

const PLUGINS: &str = "plugins";

/// The settings of a command line.
#[derive(Clone, Default)]
pub struct Arguments {
    settings: Vec<Setting>,
    plugins: Vec<Plugin>,
    grants: Vec<(String, Granted)>,
}

/// Without values, of which some are secret.
impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.settings.iter().map(|setting| &setting.argument);
        let names = settings.chain(self.grants.iter().map(|(argument, _)| argument));
        f.debug_list().entries(names).finish()
    }
}

#[derive(Clone, Debug)]
struct Plugin {
    component: String,
    required: bool,
}

#[derive(Clone, Debug)]
struct Setting {
    argument: String,
    key: &'static [&'static str],
    text: String,
}

/// What each plugin of a command line is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// HTTP requests below a URL, with these methods.
    Http {
        url: String,
        methods: &'static [&'static str],
    },
    Folder {
        folder: String,
        at: String,
        write: bool,
    },
    Variable {
        name: String,
        value: String,
    },
    /// A value of `wasi:config/store`.
    Config {
        key: String,
        value: String,
    },
    KeyValue,
    /// Another limit of its calls, by the limit's name.
    Limit {
        name: String,
        text: String,
    },
}

impl Arguments {
    /// Sets a key. `argument` is how messages call it, and never holds the text.
    pub fn set(&mut self, argument: &str, key: &'static [&'static str], text: impl Into<String>) {
        self.settings.push(Setting {
            argument: argument.to_owned(),
            key,
            text: text.into(),
        });
    }

    /// Adds a plugin: a file, relative to the current folder, or `builtin:NAME`. It is named after the component, and takes the
    /// place of a configured plugin of this name.
    pub fn add_plugin(&mut self, component: impl Into<String>, required: bool) {
        let component = component.into();
        self.plugins.push(Plugin { component, required });
    }

    /// Grants something to each plugin that was added. `argument` is how messages call it.
    pub fn grant(&mut self, argument: impl Into<String>, grant: Granted) {
        self.grants.push((argument.into(), grant));
    }
}

/// Inserts the settings and plugins into the tree.
pub(super) fn apply(root: &mut Node, arguments: &Arguments, problems: &mut Vec<Problem>) {
    for setting in &arguments.settings {
        let origin = Origin::Argument {
            name: setting.argument.clone(),
        };
        if let Some((last, parents)) = setting.key.split_last()
            && let Some(table) = table(root, parents, &origin, problems)
        {
            table.insert((*last).to_owned(), read_argument(&setting.argument, &setting.text));
        }
    }
    let mut own_names = BTreeSet::new();
    for Plugin { component, required } in &arguments.plugins {
        let origin = Origin::Argument {
            name: component.clone(),
        };
        let plugin = plugin(component, *required, &origin, &arguments.grants);
        if let Some(plugins) = table(root, &[PLUGINS], &origin, problems) {
            // In place of a configured plugin of this name, as an author's new build of it is.
            let name = unused_name(ComponentSource::parse(component).plugin_name(), &own_names);
            own_names.insert(name.clone());
            plugins.insert(name, plugin);
        }
    }
}

/// Two components in different folders may have the same name.
fn unused_name(name: String, names: &BTreeSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut candidates = std::iter::once(name.clone()).chain(numbered);
    candidates.find(|name| !names.contains(name)).unwrap_or(name)
}

fn plugin(component: &str, required: bool, origin: &Origin, grants: &[(String, Granted)]) -> Node {
    let mut plugin = Node::text(component, origin)
        .in_table("component")
        .with("required", Node::new(Value::Boolean(required), origin));
    for (argument, grant) in grants {
        let origin = &Origin::Argument { name: argument.clone() };
        let text = |text: &str| Node::text(text, origin);
        match grant {
            Granted::Http { url, methods } => {
                let methods = methods.iter().map(|method| text(method)).collect();
                let grant = text(url)
                    .in_table("url")
                    .with("methods", Node::new(Value::Array(methods), origin));
                plugin.push("http", grant);
            }
            Granted::Folder { folder, at, write } => {
                let grant = text(folder)
                    .in_table("folder")
                    .with("at", text(at))
                    .with("write", Node::new(Value::Boolean(*write), origin));
                plugin.push("files", grant);
            }
            Granted::Variable { name, value } => plugin.put("env", name, text(value)),
            Granted::Config { key, value } => plugin.put("config", key, text(value)),
            Granted::KeyValue => plugin = plugin.with("keyvalue", Node::new(Value::Boolean(true), origin)),
            Granted::Limit { name, text } => plugin.put("limits", name, read_argument(argument, text)),
        }
    }
    plugin
}

/// The entries of the table at `path`, which is made where it is missing. What is no table is reported.
fn table<'a>(
    root: &'a mut Node,
    path: &[&str],
    origin: &Origin,
    problems: &mut Vec<Problem>,
) -> Option<&'a mut BTreeMap<String, Node>> {
    let found = root.table_at(path, origin, |_, segment| Ok(segment.to_owned()));
    let report = |Misplaced { key, message }| {
        problems.push(Problem {
            origin: origin.clone(),
            key,
            message,
            hint: None,
        });
    };
    found.map_err(report).ok()
}

impl Node {
    fn new(value: Value, origin: &Origin) -> Self {
        Self {
            value,
            origin: origin.clone(),
            key: Some(origin.clone()),
            text: None,
        }
    }

    fn text(text: &str, origin: &Origin) -> Self {
        Self::new(Value::String(text.to_owned()), origin)
    }

    /// A table with this value alone.
    fn in_table(self, key: &str) -> Self {
        let origin = self.origin.clone();
        Self::new(Value::Table(BTreeMap::from([(key.to_owned(), self)])), &origin)
    }

    /// The table with another entry.
    fn with(mut self, key: &str, value: Self) -> Self {
        if let Value::Table(entries) = &mut self.value {
            entries.insert(key.to_owned(), value);
        }
        self
    }

    /// The value of this key, which is a new table if it is missing. `None` if this isn't a table.
    fn child_table(&mut self, key: &str, origin: &Origin) -> Option<&mut Self> {
        self.child_or(key, || Self::new(Value::Table(BTreeMap::new()), origin))
    }

    fn child_or(&mut self, key: &str, missing: impl FnOnce() -> Self) -> Option<&mut Self> {
        match &mut self.value {
            Value::Table(entries) => Some(entries.entry(key.to_owned()).or_insert_with(missing)),
            _ => None,
        }
    }

    /// Appends to the list of this key.
    fn push(&mut self, key: &str, item: Self) {
        let origin = item.origin.clone();
        let list = self.child_or(key, || Self::new(Value::Array(Vec::new()), &origin));
        if let Some(Value::Array(items)) = list.map(|list| &mut list.value) {
            items.push(item);
        }
    }

    /// Inserts into the table of this key.
    fn put(&mut self, table: &str, key: &str, value: Self) {
        let table = self.child_table(table, &value.origin);
        if let Some(Value::Table(entries)) = table.map(|table| &mut table.value) {
            entries.insert(key.to_owned(), value);
        }
    }
}
