//! A tool's project: a folder with the source, and with the WIT of its world in `wit`.

use std::path::{Path, PathBuf};

use wit_parser::{PackageId, ParseError, Resolve, ResolveError, WorldId, WorldItem};

use super::docs;
use super::{AuthorError, Language};

/// The world that the templates have. A project with several worlds builds this one.
const WORLD: &str = "tool";

/// A project that can be built.
pub(super) struct Project {
    pub(super) folder: PathBuf,
    pub(super) language: Language,
    pub(super) resolve: Resolve,
    pub(super) world: WorldId,
    /// The name of the WIT package, and so of the component's file.
    pub(super) name: String,
}

impl Project {
    /// Reads the project in `folder`.
    pub(super) fn open(folder: &Path) -> Result<Self, AuthorError> {
        let language = Language::of(folder).ok_or_else(|| AuthorError::NoProject(folder.to_owned()))?;
        let wit = folder.join("wit");
        let invalid = |error: &dyn std::fmt::Display| AuthorError::Wit {
            path: wit.clone(),
            reason: error.to_string(),
        };
        if !wit.is_dir() {
            return Err(invalid(&"there is no such folder"));
        }
        let mut resolve = Resolve::default();
        let (package, _) = resolve
            .push_path(&wit)
            .map_err(|error| invalid(&located(&error, &resolve)))?;
        let world = select_world(&resolve, package).map_err(|reason| invalid(&reason))?;
        Ok(Self {
            folder: folder.to_owned(),
            language,
            name: resolve.packages[package].name.name.clone(),
            resolve,
            world,
        })
    }

    pub(super) fn world_name(&self) -> &str {
        &self.resolve.worlds[self.world].name
    }

    /// The names of what the world exports, as the component has them.
    pub(super) fn exports(&self) -> Vec<String> {
        let exports = self.resolve.worlds[self.world].exports.keys();
        exports.map(|key| self.resolve.name_world_key(key)).collect()
    }

    /// The names of the functions that the world exports itself, not in an interface.
    pub(super) fn exported_functions(&self) -> Vec<String> {
        let exports = self.resolve.worlds[self.world].exports.iter();
        let functions = exports.filter(|(_, item)| matches!(item, WorldItem::Function(_)));
        functions.map(|(key, _)| self.resolve.name_world_key(key)).collect()
    }

    /// What the world's comments say about its functions, as the section `cofferdam:docs`.
    pub(super) fn docs(&self) -> serde_json::Value {
        docs::of_world(&self.resolve, self.world)
    }
}

/// What is wrong, with file, line and column where they are known.
fn located(error: &anyhow::Error, resolve: &Resolve) -> String {
    let mistake = error
        .downcast_ref::<ParseError>()
        .map(|error| error.render(&resolve.source_map));
    let unresolved = || {
        error
            .downcast_ref::<ResolveError>()
            .map(|error| error.render(&resolve.source_map))
    };
    mistake.or_else(unresolved).unwrap_or_else(|| format!("{error:#}"))
}

fn select_world(resolve: &Resolve, package: PackageId) -> Result<WorldId, String> {
    let worlds = &resolve.packages[package].worlds;
    match (worlds.get(WORLD), worlds.len()) {
        (Some(world), _) => Ok(*world),
        (None, 1) => Ok(worlds[0]),
        (None, 0) => Err("its package has no world".to_owned()),
        (None, _) => Err(format!("its package has several worlds, and none is called `{WORLD}`")),
    }
}
