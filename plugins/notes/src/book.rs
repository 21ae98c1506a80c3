//! The notes, in a store of bytes by key.

use serde_json::{Value, json};

const MAX_TITLE_CHARS: usize = 200;
const MAX_TAGS: usize = 20;
const DEFAULT_LIMIT: u32 = 50;
const PREFIX: &str = "note/";

/// A store of bytes by key. Errors are for the model: why the store can't be used right now.
pub trait Store {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String>;
    fn set(&self, key: &str, value: &[u8]) -> Result<(), String>;
    fn delete(&self, key: &str) -> Result<(), String>;
    /// All keys, in the order in which they were first set.
    fn keys(&self) -> Result<Vec<String>, String>;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub id: u32,
    pub title: String,
    pub text: String,
    pub tags: Vec<String>,
    pub priority: Priority,
}

/// A note without an id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    pub title: String,
    pub text: String,
    pub tags: Vec<String>,
    pub priority: Priority,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    NotFound(u32),
    InvalidInput(String),
    Unavailable(String),
}

impl From<String> for Problem {
    fn from(message: String) -> Self {
        Self::Unavailable(message)
    }
}

impl Priority {
    const ALL: [Self; 3] = [Self::Low, Self::Normal, Self::High];

    fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.name() == name)
    }
}

impl Note {
    fn to_json(&self) -> Value {
        json!({ "title": self.title, "text": self.text, "tags": self.tags, "priority": self.priority.name() })
    }

    /// `None` for an entry that this plugin didn't write.
    fn from_json(id: u32, bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let tags = value["tags"].as_array()?.iter();
        Some(Self {
            id,
            title: value["title"].as_str()?.to_owned(),
            text: value["text"].as_str()?.to_owned(),
            tags: tags.map(|tag| tag.as_str().map(str::to_owned)).collect::<Option<_>>()?,
            priority: Priority::named(value["priority"].as_str()?)?,
        })
    }

    /// Whether title, text or tags contain the lower-case word.
    fn contains(&self, word: &str) -> bool {
        let parts = [&self.title, &self.text].into_iter().chain(&self.tags);
        parts.into_iter().any(|part| part.to_lowercase().contains(word))
    }
}

/// The notes of one tenant.
#[derive(Debug)]
pub struct Book<S>(pub S);

impl<S: Store> Book<S> {
    /// Keeps a note under `id`, or the next id that is free. Calls that run at the same time must come with different ids, for
    /// example random ones: the store has no transactions.
    pub fn add(&self, id: u32, draft: Draft) -> Result<Note, Problem> {
        if draft.title.trim().is_empty() || draft.title.chars().count() > MAX_TITLE_CHARS {
            return Err(Problem::InvalidInput(format!(
                "a title has 1 to {MAX_TITLE_CHARS} characters"
            )));
        }
        if draft.tags.len() > MAX_TAGS {
            return Err(Problem::InvalidInput(format!("a note has at most {MAX_TAGS} tags")));
        }
        let mut note = Note {
            id,
            title: draft.title,
            text: draft.text,
            tags: draft.tags,
            priority: draft.priority,
        };
        while self.0.get(&key(note.id))?.is_some() {
            note.id = note.id.wrapping_add(1);
        }
        self.0.set(&key(note.id), note.to_json().to_string().as_bytes())?;
        Ok(note)
    }

    /// The newest notes, the newest of them last.
    pub fn list(&self, tag: Option<&str>, limit: Option<u32>) -> Result<Vec<Note>, Problem> {
        self.newest(limit, |note| {
            tag.is_none_or(|tag| note.tags.iter().any(|own| own == tag))
        })
    }

    /// The newest notes that contain every word of the query.
    pub fn search(&self, query: &str, limit: Option<u32>) -> Result<Vec<Note>, Problem> {
        let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
        if words.is_empty() {
            return Err(Problem::InvalidInput("the query has no words".to_owned()));
        }
        self.newest(limit, |note| words.iter().all(|word| note.contains(word)))
    }

    pub fn delete(&self, id: u32) -> Result<(), Problem> {
        if self.0.get(&key(id))?.is_none() {
            return Err(Problem::NotFound(id));
        }
        Ok(self.0.delete(&key(id))?)
    }

    fn newest(&self, limit: Option<u32>, is_wanted: impl Fn(&Note) -> bool) -> Result<Vec<Note>, Problem> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT) as usize;
        let mut found = Vec::new();
        for key in self.0.keys()?.iter().rev() {
            if found.len() >= limit {
                break;
            }
            let Some(id) = key.strip_prefix(PREFIX).and_then(|id| id.parse().ok()) else {
                continue;
            };
            let bytes = self.0.get(key)?.unwrap_or_default();
            found.extend(Note::from_json(id, &bytes).filter(&is_wanted));
        }
        found.reverse();
        Ok(found)
    }
}

fn key(id: u32) -> String {
    format!("{PREFIX}{id}")
}
