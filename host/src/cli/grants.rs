//! What a command line grants the components that it names: the same words for every command that takes a component.

use std::path::Path;

use clap::Args;

use super::CliError;
use super::commands::OPEN;
use crate::config::{Arguments, Granted};
use crate::tools::ComponentSource;

/// The methods that `--allow-http` grants: all, because the user has named the address.
const ALLOWED_METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// What a component is granted, and its limits. By default, nothing, and the limits of a configuration without any.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Grants for the component")]
pub struct GrantArgs {
    /// Allow HTTP requests to this scheme://host[:port][/path-prefix], with any method; may be repeated
    #[arg(long, value_name = "URL")]
    pub allow_http: Vec<String>,
    /// Allow reading this folder, and with `:rw` writing to it. The component sees it at AT, by default `/` and the folder's
    /// name, or `/` for `.`; may be repeated
    #[arg(long, value_name = "PATH[:AT][:rw]")]
    pub dir: Vec<String>,
    /// Pass an environment variable, by default with the value it has here; may be repeated
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Set a value that the component reads through wasi:config; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Let the component keep data between calls
    #[arg(long)]
    pub keyvalue: bool,
    /// Change a limit of its calls, such as timeout=30s, memory=256MiB or fuel=1000000; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub limit: Vec<String>,
}

impl GrantArgs {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds components, each with these grants. If one is `required`, the host starts only with it.
    ///
    /// # Errors
    /// An argument isn't of its form or names a variable that isn't set, or there are grants and no component.
    pub fn apply(&self, components: &[String], required: bool, arguments: &mut Arguments) -> Result<(), CliError> {
        if components.is_empty() && !self.is_empty() {
            return Err(CliError::usage(
                "the grants of the command line are for the components of --plugin, and there is none",
                "add --plugin FILE; a configured plugin has the grants of its section `[plugins.NAME]`",
            ));
        }
        for component in components {
            arguments.add_plugin(component, required);
        }
        for url in &self.allow_http {
            arguments.grant(
                "--allow-http",
                Granted::Http {
                    url: url.clone(),
                    methods: ALLOWED_METHODS,
                },
            );
        }
        for text in &self.dir {
            let folder = Folder::parse(text)?;
            arguments.grant(
                format!("--dir {}", folder.path),
                Granted::Folder {
                    folder: folder.path.to_owned(),
                    at: folder.at,
                    write: folder.write,
                },
            );
        }
        for text in &self.env {
            let (name, value) = variable(text)?;
            arguments.grant(format!("--env {name}"), Granted::Variable { name, value });
        }
        for text in &self.set {
            let (key, value) = pair("--set", text, "write --set KEY=VALUE")?;
            arguments.grant(format!("--set {key}"), Granted::Config { key, value });
        }
        if self.keyvalue {
            arguments.grant("--keyvalue", Granted::KeyValue);
        }
        for text in &self.limit {
            let hint = "write --limit NAME=VALUE, such as timeout=30s, memory=256MiB or fuel=1000000";
            let (name, text) = pair("--limit", text, hint)?;
            arguments.grant(format!("--limit {name}"), Granted::Limit { name, text });
        }
        Ok(())
    }

    /// The options that do the same in another folder.
    pub fn options(&self, components: &[String], folder: &Path) -> Vec<String> {
        let mut options = Vec::new();
        let mut option = |name: &str, value: String| options.extend([name.to_owned(), value]);
        for component in components {
            let source = match ComponentSource::parse(component) {
                ComponentSource::Path(path) => folder.join(path).display().to_string(),
                ComponentSource::Builtin(_) | ComponentSource::Bytes(_) => component.clone(),
            };
            option("--plugin", source);
        }
        for url in &self.allow_http {
            option("--allow-http", url.clone());
        }
        for text in &self.dir {
            let value = match Folder::parse(text) {
                Ok(Folder { path, at, write }) => {
                    let path = folder.join(path).components().collect::<std::path::PathBuf>();
                    format!("{}:{at}{}", path.display(), if write { ":rw" } else { "" })
                }
                Err(_) => text.clone(),
            };
            option("--dir", value);
        }
        for (name, values) in [("--env", &self.env), ("--set", &self.set), ("--limit", &self.limit)] {
            values.iter().for_each(|value| option(name, value.clone()));
        }
        if self.keyvalue {
            options.push("--keyvalue".to_owned());
        }
        options
    }

    /// The same options as a shell reads them, for hints. Values of `--env` and `--set` may be secret. In their place stands what a shell
    /// refuses, so that nobody passes it by mistake.
    pub fn in_shell(&self, components: &[String]) -> String {
        let (unset, env): (Vec<String>, Vec<String>) = self.env.iter().cloned().partition(|env| env.contains('='));
        let shown = Self {
            env,
            set: Vec::new(),
            ..self.clone()
        };
        let mut words: Vec<String> = shown
            .options(components, Path::new(""))
            .iter()
            .map(|word| in_message(word))
            .collect();
        for (option, values) in [("--env", &unset), ("--set", &self.set)] {
            for name in values.iter().filter_map(|value| value.split('=').next()) {
                words.push(format!("{option} {}={OPEN}", in_message(name)));
            }
        }
        words.join(" ")
    }
}

/// Longer words would hide the rest of a message.
const MAX_WORD_BYTES: usize = 200;

/// The word as a shell reads it, in a command between backticks of a message. What would end the command there, or is too much, is left
/// for a person to fill in: a shell refuses the placeholder.
pub fn in_message(word: &str) -> String {
    match word.len() > MAX_WORD_BYTES || word.contains(|character: char| character == '`' || character.is_control()) {
        true => OPEN.to_owned(),
        false => quoted(word),
    }
}

/// The word as a shell reads it.
pub fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), std::borrow::Cow::into_owned)
}

/// One component with these grants.
///
/// # Errors
/// As [`GrantArgs::apply`].
pub fn component(component: &str, grants: &GrantArgs) -> Result<Arguments, CliError> {
    let mut arguments = Arguments::default();
    grants.apply(&[component.to_owned()], false, &mut arguments)?;
    Ok(arguments)
}

/// A folder of `--dir`.
#[derive(Debug, PartialEq, Eq)]
struct Folder<'a> {
    path: &'a str,
    /// Where the component sees it.
    at: String,
    write: bool,
}

impl<'a> Folder<'a> {
    /// Reads `PATH[:AT][:rw]`. What follows a colon and isn't `rw`, `ro` or an absolute path is part of the path.
    fn parse(text: &'a str) -> Result<Self, CliError> {
        let (rest, write) = match text.rsplit_once(':') {
            Some((rest, "rw")) => (rest, true),
            Some((rest, "ro")) => (rest, false),
            _ => (text, false),
        };
        let (path, at) = match rest.rfind(":/") {
            Some(colon) => (&rest[..colon], Some(rest[colon + 1..].to_owned())),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err(CliError::usage(
                format!("--dir {text}: there is no folder in it"),
                "write --dir PATH to read a folder, or --dir PATH:rw to write to it as well",
            ));
        }
        // Most likely a misspelt `rw`, which would give no leave to write.
        if let Some(at) = at.as_ref().filter(|at| at.contains(':')) {
            return Err(CliError::usage(
                format!("--dir {text}: a colon in {at}, where the guest sees the folder"),
                "end it with :rw to write to the folder as well, or with :ro",
            ));
        }
        let name = Path::new(path).file_name().map(|name| name.to_string_lossy());
        let at = at.unwrap_or_else(|| format!("/{}", name.unwrap_or_default()));
        Ok(Self { path, at, write })
    }
}

fn variable(text: &str) -> Result<(String, String), CliError> {
    if let Some((name, value)) = text.split_once('=') {
        return Ok((name.to_owned(), value.to_owned()));
    }
    match std::env::var(text) {
        Ok(value) => Ok((text.to_owned(), value)),
        Err(std::env::VarError::NotPresent) => Err(CliError::usage(
            format!("--env {text}: this variable isn't set here"),
            format!("set it, or write --env {text}=VALUE"),
        )),
        Err(std::env::VarError::NotUnicode(_)) => Err(CliError::usage(
            format!("--env {text}: its value isn't Unicode, which components require"),
            format!("write --env {text}=VALUE"),
        )),
    }
}

fn pair(option: &str, text: &str, hint: &str) -> Result<(String, String), CliError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        // Not shown as a whole: what lacks a name may be a secret.
        _ => Err(CliError::usage(format!("{option} needs a name, `=` and a value"), hint)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn folders_are_read_with_where_they_are_seen_and_whether_they_are_written() {
        for (text, path, at, write) in [
            ("data", "data", "/data", false),
            ("./a/data:rw", "./a/data", "/data", true),
            ("/srv/data:ro", "/srv/data", "/data", false),
            (".", ".", "/", false),
            ("..:rw", "..", "/", true),
            ("data:/in/box", "data", "/in/box", false),
            ("/srv/data:/:rw", "/srv/data", "/", true),
            ("odd:name", "odd:name", "/odd:name", false),
        ] {
            let at = at.to_owned();
            assert_eq!(Folder::parse(text).unwrap(), Folder { path, at, write }, "{text}");
        }
        for text in [":rw", ":/at", "data:/in:wr", "data:/in:rw:rw"] {
            assert!(Folder::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_options_do_the_same_elsewhere() {
        let grants = GrantArgs {
            allow_http: vec!["https://api.example".to_owned()],
            dir: vec!["./data:rw".to_owned(), "/srv:/in".to_owned()],
            env: vec!["LANG".to_owned()],
            set: vec!["unit=C".to_owned()],
            keyvalue: true,
            limit: vec!["timeout=30s".to_owned()],
        };
        let components = ["a.wasm", "builtin:notes"].map(str::to_owned);
        assert_eq!(
            grants.options(&components, Path::new("/home")).join(" "),
            "--plugin /home/a.wasm --plugin builtin:notes --allow-http https://api.example --dir /home/data:/data:rw \
             --dir /srv:/in --env LANG --set unit=C --limit timeout=30s --keyvalue"
        );
    }

    #[test]
    fn a_hint_repeats_the_options_without_what_may_be_secret() {
        let grants = GrantArgs {
            dir: vec!["my data:rw".to_owned()],
            env: vec!["LANG".to_owned(), "TOKEN=hunter2".to_owned()],
            set: vec!["key=hunter2=".to_owned()],
            keyvalue: true,
            ..GrantArgs::default()
        };
        assert_eq!(
            grants.in_shell(&["tools/it's.wasm".to_owned()]),
            "--plugin \"tools/it's.wasm\" --dir 'my data:/my data:rw' --env LANG --keyvalue --env TOKEN=<VALUE> --set key=<VALUE>"
        );
        assert_eq!(GrantArgs::default().in_shell(&[]), "");
    }

    #[test]
    fn a_secret_is_not_in_a_message() {
        for args in [["--set", "hunter2"], ["--set", "=hunter2"], ["--limit", "=hunter2"]] {
            let grants = match args {
                ["--set", text] => GrantArgs {
                    set: vec![text.to_owned()],
                    ..GrantArgs::default()
                },
                [_, text] => GrantArgs {
                    limit: vec![text.to_owned()],
                    ..GrantArgs::default()
                },
            };
            let error = component("builtin:notes", &grants).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn grants_need_a_component() {
        let grants = GrantArgs {
            keyvalue: true,
            ..GrantArgs::default()
        };
        assert!(grants.apply(&[], false, &mut Arguments::default()).is_err());
    }
}
