//! `tool new`: the projects to start from, which are embedded in the program.

use std::path::{Path, PathBuf};

use super::name;
use super::write::write_file;
use super::{AuthorError, Language, Style, write_wit_files};

/// What a template's texts say where the project's name goes.
const NAME: &str = "{{name}}";

/// A file's path in the project, and its text.
type File = (&'static str, &'static str);

macro_rules! files {
    ($($path:literal => $template:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../templates/", $template)))),*]
    };
}

const TYPED: &[File] = files!("wit/world.wit" => "common/typed.wit");
const DYNAMIC: &[File] = files!("wit/world.wit" => "common/dynamic.wit");
const COMMON: &[File] = files!("cofferdam.toml" => "common/cofferdam.toml.in");

const RUST: &[File] = files!(
    ".gitignore" => "rust/gitignore",
    "Cargo.toml" => "rust/Cargo.toml.in",
    "README.md" => "rust/README.md",
    "src/lib.rs" => "rust/src/lib.rs",
    "src/component.rs" => "rust/src/component.rs",
);
const RUST_DYNAMIC: &[File] = files!(
    ".gitignore" => "rust/gitignore",
    "Cargo.toml" => "rust-dynamic/Cargo.toml.in",
    "README.md" => "rust/README.md",
    "src/lib.rs" => "rust/src/lib.rs",
    "src/component.rs" => "rust-dynamic/src/component.rs",
);
const PYTHON: &[File] = files!(
    ".gitignore" => "python/gitignore",
    "README.md" => "python/README.md",
    "app.py" => "python/app.py",
    "letters.py" => "python/letters.py",
    "requirements.txt" => "python/requirements.txt",
    "test_letters.py" => "python/test_letters.py",
);
const PYTHON_DYNAMIC: &[File] = files!(
    ".gitignore" => "python/gitignore",
    "README.md" => "python/README.md",
    "app.py" => "python-dynamic/app.py",
    "letters.py" => "python/letters.py",
    "requirements.txt" => "python/requirements.txt",
    "test_letters.py" => "python/test_letters.py",
);
const JAVASCRIPT: &[File] = files!(
    ".gitignore" => "javascript/gitignore",
    "README.md" => "javascript/README.md",
    "package.json" => "javascript/package.json",
    "package-lock.json" => "javascript/package-lock.json",
    "test/tool.test.js" => "javascript/test/tool.test.js",
    "tool.js" => "javascript/tool.js",
);
const TYPESCRIPT: &[File] = files!(
    ".gitignore" => "typescript/gitignore",
    "README.md" => "typescript/README.md",
    "package.json" => "typescript/package.json",
    "package-lock.json" => "typescript/package-lock.json",
    "src/tool.ts" => "typescript/src/tool.ts",
    "test/tool.test.js" => "typescript/test/tool.test.js",
    "tsconfig.json" => "typescript/tsconfig.json",
);
const C: &[File] = files!(
    ".gitignore" => "c/gitignore",
    "Makefile" => "c/Makefile",
    "README.md" => "c/README.md",
    "src/component.c" => "c/src/component.c",
    "src/letters.c" => "c/src/letters.c",
    "src/letters.h" => "c/src/letters.h",
    "test/letters_test.c" => "c/test/letters_test.c",
);
const GO: &[File] = files!(
    ".gitignore" => "go/gitignore",
    "README.md" => "go/README.md",
    "export_wit_world/component.go" => "go/component.go",
    "go.mod" => "go/go.mod.in",
    "letters/letters.go" => "go/letters.go",
    "letters/letters_test.go" => "go/letters_test.go",
);

/// A project that was created.
#[derive(Clone, Debug)]
pub struct Created {
    pub folder: PathBuf,
    /// The files besides the packages in `wit/deps`, relative to the folder.
    pub files: Vec<PathBuf>,
}

/// Creates a project in the folder `parent/name`.
///
/// # Errors
///
/// If the name can't be used, the language has no template of the style, or the folder isn't empty.
pub fn create(parent: &Path, name: &str, language: Language, style: Style) -> Result<Created, AuthorError> {
    name::check(name)?;
    let files = files(language, style)?;
    let folder = match parent == Path::new(".") {
        true => PathBuf::from(name),
        false => parent.join(name),
    };
    let is_free = match std::fs::read_dir(&folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if !is_free {
        return Err(AuthorError::NotEmpty(folder));
    }
    for (path, text) in &files {
        write_file(&folder.join(path), text.replace(NAME, name).as_bytes())?;
    }
    write_wit_files(&folder.join("wit"), false)?;
    Ok(Created {
        folder,
        files: files.iter().map(|(path, _)| PathBuf::from(path)).collect(),
    })
}

fn files(language: Language, style: Style) -> Result<Vec<File>, AuthorError> {
    let own = match (language, style) {
        (Language::Rust, Style::Typed) => RUST,
        (Language::Rust, Style::Dynamic) => RUST_DYNAMIC,
        (Language::Python, Style::Typed) => PYTHON,
        (Language::Python, Style::Dynamic) => PYTHON_DYNAMIC,
        (Language::JavaScript, Style::Typed) => JAVASCRIPT,
        (Language::TypeScript, Style::Typed) => TYPESCRIPT,
        (Language::C, Style::Typed) => C,
        (Language::Go, Style::Typed) => GO,
        (_, Style::Dynamic) => return Err(AuthorError::NoTemplate { language, style }),
    };
    let world = match style {
        Style::Typed => TYPED,
        Style::Dynamic => DYNAMIC,
    };
    let mut files: Vec<File> = [COMMON, own, world].concat();
    files.sort_by_key(|(path, _)| *path);
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::ValueEnum as _;

    use super::*;
    use crate::author::project::Project;

    #[test]
    fn every_template_is_a_project_of_its_language() {
        for language in Language::value_variants() {
            for style in [Style::Typed, Style::Dynamic] {
                let parent = tempfile::tempdir().unwrap();
                let created = match create(parent.path(), "my-letters", *language, style) {
                    Ok(created) => created,
                    Err(AuthorError::NoTemplate { .. }) if style == Style::Dynamic => continue,
                    Err(error) => panic!("{language:?}: {error}"),
                };
                let project = Project::open(&created.folder).unwrap();
                assert_eq!((project.language, project.name.as_str()), (*language, "my-letters"));
                let described = project.docs()["functions"].get("count-letter").is_some();
                assert_eq!(described, style == Style::Typed, "{language:?}");
                for file in &created.files {
                    let text = std::fs::read_to_string(created.folder.join(file)).unwrap();
                    assert!(!text.contains("{{") && text.ends_with('\n'), "{}", file.display());
                }
                let readme = std::fs::read_to_string(created.folder.join("README.md")).unwrap();
                assert!(readme.lines().count() <= 14, "{language:?}");
            }
        }
    }

    #[test]
    fn rust_and_python_alone_have_dynamic_templates() {
        let languages = Language::value_variants().iter();
        let dynamic = languages.filter(|language| files(**language, Style::Dynamic).is_ok());
        assert_eq!(dynamic.copied().collect::<Vec<_>>(), [Language::Rust, Language::Python]);
    }

    #[test]
    fn a_folder_that_holds_something_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::create_dir(parent.path().join("a")).unwrap();
        create(parent.path(), "a", Language::Python, Style::Typed).unwrap();
        std::fs::write(parent.path().join("b"), "a file").unwrap();
        for name in ["a", "b"] {
            let error = create(parent.path(), name, Language::Python, Style::Typed).unwrap_err();
            assert!(matches!(error, AuthorError::NotEmpty(_)), "{error}");
        }
    }
}
