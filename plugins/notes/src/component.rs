//! The component: implements the WIT with [`Book`].

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

wit_bindgen::generate!({ path: ["../../wit/wasi-keyvalue", "wit"], world: "cofferdam:notes/plugin", generate_all });

use exports::cofferdam::notes::notes as wire;
use wasi::keyvalue::store::{Bucket, Error, open};

use crate::{Book, Draft, Note, Priority, Problem, Store};

/// What the model reads about each function. The host finds it in a section of this name.
#[used]
#[unsafe(link_section = "cofferdam:docs")]
static DOCS: [u8; include_bytes!("docs.json").len()] = *include_bytes!("docs.json");

struct Notes;

export!(Notes);

impl wire::Guest for Notes {
    fn add(
        title: String,
        text: String,
        tags: Option<Vec<String>>,
        priority: Option<wire::Priority>,
    ) -> Result<wire::Note, wire::Problem> {
        let draft = Draft {
            title,
            text,
            tags: tags.unwrap_or_default(),
            priority: priority.map_or_else(Priority::default, Priority::from),
        };
        Ok(book()?.add(random(), draft)?.into())
    }

    fn list(tag: Option<String>, limit: Option<u32>) -> Result<Vec<wire::Note>, wire::Problem> {
        Ok(all(book()?.list(tag.as_deref(), limit)?))
    }

    fn search(query: String, limit: Option<u32>) -> Result<Vec<wire::Note>, wire::Problem> {
        Ok(all(book()?.search(&query, limit)?))
    }

    fn delete(id: u32) -> Result<(), wire::Problem> {
        Ok(book()?.delete(id)?)
    }
}

fn book() -> Result<Book<Kept>, Problem> {
    let bucket = open("").map_err(|error| match error {
        Error::AccessDenied => "no store was granted: a configuration grants one with `keyvalue = true`, the command line with `--keyvalue`".to_owned(),
        other => message(other),
    })?;
    Ok(Book(Kept(bucket)))
}

fn all(notes: Vec<Note>) -> Vec<wire::Note> {
    notes.into_iter().map(wire::Note::from).collect()
}

/// The standard library seeds its hash maps from `wasi:random`.
fn random() -> u32 {
    RandomState::new().build_hasher().finish() as u32
}

/// The store that the host grants.
struct Kept(Bucket);

impl Store for Kept {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        self.0.get(key).map_err(message)
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        self.0.set(key, value).map_err(message)
    }

    fn delete(&self, key: &str) -> Result<(), String> {
        self.0.delete(key).map_err(message)
    }

    fn keys(&self) -> Result<Vec<String>, String> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.0.list_keys(cursor).map_err(message)?;
            all.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }
}

fn message(error: Error) -> String {
    match error {
        Error::NoSuchStore => "there is no store".to_owned(),
        Error::AccessDenied => "the store denied access".to_owned(),
        Error::Other(message) => message,
    }
}

impl From<wire::Priority> for Priority {
    fn from(priority: wire::Priority) -> Self {
        match priority {
            wire::Priority::Low => Self::Low,
            wire::Priority::Normal => Self::Normal,
            wire::Priority::High => Self::High,
        }
    }
}

impl From<Priority> for wire::Priority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Low => Self::Low,
            Priority::Normal => Self::Normal,
            Priority::High => Self::High,
        }
    }
}

impl From<Note> for wire::Note {
    fn from(note: Note) -> Self {
        Self {
            id: note.id,
            title: note.title,
            text: note.text,
            tags: note.tags,
            priority: note.priority.into(),
        }
    }
}

impl From<Problem> for wire::Problem {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::NotFound(id) => Self::NotFound(id),
            Problem::InvalidInput(message) => Self::InvalidInput(message),
            Problem::Unavailable(message) => Self::Unavailable(message),
        }
    }
}
