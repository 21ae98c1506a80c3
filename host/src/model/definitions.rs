//! The tools of a host, as a model sees them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A tool as the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolDefinition {
    pub name: String,
    pub description: String,
    /// JSON text, sent as it is.
    pub input_schema: Arc<str>,
    /// Whether the model always reads it, even where it [searches](super::ToolSearch) for the others.
    pub always_load: bool,
}

impl ToolDefinition {
    /// Bytes of what the model reads of it.
    pub fn bytes(&self) -> u64 {
        let Self {
            name,
            description,
            input_schema,
            always_load: _,
        } = self;
        (name.len() + description.len() + input_schema.len()) as u64
    }
}

/// All tools of a host, in a fixed order. Clones share the list and its serialised forms.
#[derive(Clone, Default)]
pub struct ToolDefinitions {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    list: Vec<ToolDefinition>,
    /// By provider and form.
    serialized: Mutex<Vec<(&'static str, Arc<str>)>>,
}

impl ToolDefinitions {
    pub fn list(&self) -> &[ToolDefinition] {
        &self.shared.list
    }

    /// The list as `serialize` writes it in this form, which is the provider's name where it has only one. Called once per form,
    /// then cached.
    ///
    /// # Errors
    ///
    /// The error of `serialize`, which isn't cached.
    pub fn serialized_for<E>(
        &self,
        form: &'static str,
        serialize: impl FnOnce(&[ToolDefinition]) -> Result<String, E>,
    ) -> Result<Arc<str>, E> {
        // A panic in `serialize` leaves the list as it was.
        let mut serialized = self.shared.serialized.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = serialized.iter().find(|(known, _)| *known == form) {
            return Ok(Arc::clone(text));
        }
        let text: Arc<str> = serialize(self.list())?.into();
        serialized.push((form, Arc::clone(&text)));
        Ok(text)
    }
}

impl FromIterator<ToolDefinition> for ToolDefinitions {
    fn from_iter<T: IntoIterator<Item = ToolDefinition>>(tools: T) -> Self {
        let shared = Shared {
            list: tools.into_iter().collect(),
            serialized: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl fmt::Debug for ToolDefinitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;

    use super::*;

    #[test]
    fn each_provider_serializes_the_list_once() {
        let definitions = ToolDefinitions::default();
        let asked = Cell::new(0);
        let serialize = |_: &[ToolDefinition]| {
            asked.set(asked.get() + 1);
            Ok::<_, ()>("[]".to_owned())
        };
        let first = definitions.serialized_for("a", serialize).unwrap();
        let again = definitions.clone().serialized_for("a", serialize).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(asked.get(), 1);
        definitions.serialized_for("b", serialize).unwrap();
        assert_eq!(asked.get(), 2);
        assert_eq!(definitions.serialized_for("c", |_| Err(7)), Err(7));
    }
}
