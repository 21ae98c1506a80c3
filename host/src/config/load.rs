//! Finds, reads, merges and checks files, variables and arguments. The result is a [`Config`] or the list of all problems.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::Config;
use super::arguments::Arguments;
use super::folders::Folders;
use super::problem::{ConfigError, Origin, Problem};
use super::raw::RawConfig;
use super::resolve::Resolver;
use super::schema::Schema;
use super::source::{Node, Source};
use super::{arguments, env, renamed, violations};
use crate::regular_file;

pub(crate) const FILE_NAME: &str = "cofferdam.toml";

/// People write configurations by hand, so a larger file is some other file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

const BUILT_IN: &str = include_str!("builtin.toml");

/// The sources of a configuration. By default, nothing is read but `cofferdam.toml` in the current folder of the process, if it is there:
/// no environment, and no folder of the user.
#[derive(Clone, Default)]
pub struct LoadOptions {
    /// The file to read. `None`: `cofferdam.toml` in `cwd`, else in the user's configuration folder, else none.
    pub file: Option<PathBuf>,
    /// The environment: overrides and the variable that holds the API key.
    pub env: BTreeMap<String, String>,
    /// The current folder.
    pub cwd: PathBuf,
    pub folders: Option<Folders>,
    /// What the command line sets.
    pub arguments: Arguments,
    /// Whether neither a file nor a variable is read. Relative paths then stay as they are.
    pub arguments_only: bool,
}

/// Of the environment, the names: values may be secret.
impl fmt::Debug for LoadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            env,
            cwd,
            folders,
            arguments,
            arguments_only,
        } = self;
        f.debug_struct("LoadOptions")
            .field("file", file)
            .field("env", &env.keys())
            .field("cwd", cwd)
            .field("folders", folders)
            .field("arguments", arguments)
            .field("arguments_only", arguments_only)
            .finish()
    }
}

impl LoadOptions {
    /// The command line alone, for plugins that are named there and a configuration that isn't read.
    pub fn of_arguments(arguments: Arguments) -> Self {
        Self {
            file: None,
            env: BTreeMap::new(),
            cwd: PathBuf::new(),
            folders: Folders::for_current_user(),
            arguments,
            arguments_only: true,
        }
    }

    /// The environment and folders of this process.
    pub fn from_process(file: Option<&Path>) -> Self {
        // A name or value that is not Unicode is never valid. It is converted lossily, so that the checks report it.
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self {
            file: file.map(Path::to_owned),
            env: std::env::vars_os()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            cwd: std::env::current_dir().unwrap_or_default(),
            folders: Folders::for_current_user(),
            arguments: Arguments::default(),
            arguments_only: false,
        }
    }

    /// The same with what the command line sets.
    #[must_use]
    pub fn with_arguments(self, arguments: Arguments) -> Self {
        Self { arguments, ..self }
    }
}

/// A configuration that isn't valid, and what can be used of it to find more that is wrong.
#[derive(Debug)]
pub struct Invalid {
    pub error: ConfigError,
    /// That was read. `None` without one, and for one that can't be read.
    pub file: Option<PathBuf>,
    /// With defaults in place of what is wrong, and without the plugins that something is wrong with. `None` if the file isn't TOML.
    pub rest: Option<Box<Config>>,
}

impl From<ConfigError> for Invalid {
    fn from(error: ConfigError) -> Self {
        Self {
            error,
            file: None,
            rest: None,
        }
    }
}

pub(super) fn load(options: &LoadOptions) -> Result<Config, Invalid> {
    let cache = options.folders.as_ref().map(|folders| folders.cache.clone());
    if options.arguments_only {
        let (mut config, problems) = parts(&Source::built_in(""), &options.cwd, options);
        config
            .iter_mut()
            .for_each(|config| config.engine.cache_dir.clone_from(&cache));
        return valid(config, problems);
    }
    let expected = expected_files(options);
    let file = find(options, &expected)?;
    let source = match &file {
        Some((path, text)) => Source::file(path.strip_prefix(&options.cwd).unwrap_or(path), text.clone()),
        None => Source::built_in(BUILT_IN),
    };
    let file = file.map(|(path, _)| path);
    let folder = file.as_deref().and_then(Path::parent).unwrap_or(&options.cwd);
    let (mut config, problems) = parts(&source, folder, options);
    if let Some(config) = &mut config {
        if file.is_none() {
            config.origins.looked_at = expected;
        }
        config.origins.file.clone_from(&file);
        config.engine.cache_dir = cache;
    }
    valid(config, problems).map_err(|invalid| Invalid { file, ..invalid })
}

/// The configuration, if nothing is wrong with it.
fn valid(config: Option<Config>, problems: Vec<Problem>) -> Result<Config, Invalid> {
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        config => {
            let is_wrong = |name: &str| {
                problems.iter().any(|problem| {
                    let key = problem.key.strip_prefix("plugins.");
                    let rest = key.and_then(|key| key.strip_prefix(name));
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                })
            };
            let rest = config.map(|mut config| {
                config.plugins.retain(|plugin| !is_wrong(&plugin.name));
                Box::new(config)
            });
            let error = ConfigError::new(problems);
            Err(Invalid {
                error,
                file: None,
                rest,
            })
        }
    }
}

/// Where a configuration is looked for, unless a file is named.
fn expected_files(options: &LoadOptions) -> Vec<PathBuf> {
    let in_folder = options.folders.as_ref().map(|folders| folders.config.join(FILE_NAME));
    std::iter::once(options.cwd.join(FILE_NAME)).chain(in_folder).collect()
}

/// The file and its text.
fn find(options: &LoadOptions, expected: &[PathBuf]) -> Result<Option<(PathBuf, String)>, ConfigError> {
    if let Some(file) = &options.file {
        let path = options.cwd.join(file);
        return match read_file(&path) {
            Ok(text) => Ok(Some((path, text))),
            Err(error) => Err(unreadable(file, &path, &error)),
        };
    }
    for path in expected {
        match read_file(path) {
            Ok(text) => return Ok(Some((path.clone(), text))),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) && !path.is_symlink() => {}
            Err(error) => return Err(unreadable(path, path, &error)),
        }
    }
    Ok(None)
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    regular_file::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

/// `name` is what the file is called in messages.
fn unreadable(name: &Path, path: &Path, error: &io::Error) -> ConfigError {
    let hint = match error.kind() {
        ErrorKind::NotFound if path.is_symlink() => "it is a symbolic link to what isn't there: mend it or remove it",
        ErrorKind::NotFound => "check the path given with --config",
        ErrorKind::InvalidData => "a configuration file must be UTF-8 text",
        _ => "check that it is a file and that you can read it",
    };
    ConfigError::new(vec![Problem {
        origin: Origin::WholeFile { path: name.to_owned() },
        key: String::new(),
        message: format!("can't be read: {error}"),
        hint: Some(hint.to_owned()),
    }])
}

/// Reads, merges and checks. Reports all problems together.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read(source: &Source, folder: &Path, options: &LoadOptions) -> Result<Config, ConfigError> {
    let (config, problems) = parts(source, folder, options);
    valid(config, problems).map_err(|invalid| invalid.error)
}

/// The settings, with defaults for those that are wrong, and what is wrong.
fn parts(source: &Source, folder: &Path, options: &LoadOptions) -> (Option<Config>, Vec<Problem>) {
    let mut problems = Vec::new();
    let parsed = source.parse(&mut problems);
    let has_syntax_errors = parsed.is_none();
    let mut root = parsed.unwrap_or_else(|| Node::table(Origin::BuiltIn));
    renamed::apply(&mut root, &mut problems);
    env::apply(&mut root, &options.env, &mut problems);
    renamed::apply_overrides(&mut root);
    arguments::apply(&mut root, &options.arguments, &mut problems);
    if has_syntax_errors {
        // Checking an incomplete tree would only report follow-up errors.
        return (None, problems);
    }
    let raw = raw(&root, &mut problems);
    let config = raw.map(|raw| {
        let variables = &options.env;
        Resolver {
            root: &root,
            folder,
            cwd: &options.cwd,
            variables,
            problems: &mut problems,
        }
        .config(raw)
    });
    (config, problems)
}

fn raw(root: &Node, problems: &mut Vec<Problem>) -> Option<RawConfig> {
    // Neither error can happen: the schema is tested, and every value that it accepts deserializes.
    let internal = |message: String| Problem {
        origin: root.origin.clone(),
        key: String::new(),
        message,
        hint: None,
    };
    let schema = Schema::of(root)
        .map_err(|error| problems.push(internal(error.to_string())))
        .ok()?;
    let mut json = schema.coerce(root);
    violations::report_and_remove(&schema, root, &mut json, problems);
    serde_json::from_value(json)
        .map_err(|error| problems.push(internal(error.to_string())))
        .ok()
}
