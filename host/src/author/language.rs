//! The languages that tools can be written in, and how a folder shows which one it is.

use std::fmt;
use std::path::Path;

/// A language that `tool new` has a template for and `tool build` can build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    Rust,
    Python,
    #[value(name = "javascript", alias = "js")]
    JavaScript,
    #[value(name = "typescript", alias = "ts")]
    TypeScript,
    C,
    Go,
}

/// How a component describes its tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// Functions of a WIT world: each one is a tool, and its types are the schema
    #[default]
    Typed,
    /// The component lists its tools and their schemas itself, at run time
    Dynamic,
}

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Typed => "typed",
            Self::Dynamic => "dynamic",
        })
    }
}

impl Language {
    /// All languages with the file that shows each, in the order in which a folder is looked at: TypeScript projects have a
    /// `package.json` as well.
    const MARKERS: [(Self, &str); 6] = [
        (Self::Rust, "Cargo.toml"),
        (Self::Go, "go.mod"),
        (Self::TypeScript, "tsconfig.json"),
        (Self::JavaScript, "package.json"),
        (Self::Python, "app.py"),
        (Self::C, "src/component.c"),
    ];

    /// The language of a project.
    pub fn of(folder: &Path) -> Option<Self> {
        let found = Self::MARKERS.iter().find(|(_, file)| folder.join(file).is_file());
        found.map(|(language, _)| *language)
    }

    pub(super) fn markers() -> String {
        Self::MARKERS.map(|(_, file)| file).join(", ")
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Python => "Python",
            Self::JavaScript => "JavaScript",
            Self::TypeScript => "TypeScript",
            Self::C => "C",
            Self::Go => "Go",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_typescript_configuration_makes_a_package_typescript() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Language::of(folder.path()), None);
        std::fs::write(folder.path().join("package.json"), "{}").unwrap();
        assert_eq!(Language::of(folder.path()), Some(Language::JavaScript));
        std::fs::write(folder.path().join("tsconfig.json"), "{}").unwrap();
        assert_eq!(Language::of(folder.path()), Some(Language::TypeScript));
    }
}
