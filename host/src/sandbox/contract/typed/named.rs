//! Parts of a type that have names, found by name without a search through all of them: an input can name one of a thousand
//! cases a hundred thousand times.

use std::ops::Deref;

pub(super) trait HasName {
    fn json_name(&self) -> &str;
}

/// Parts in the order of the type.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Named<T> {
    parts: Box<[T]>,
    /// Positions, in the order of the names.
    by_name: Box<[usize]>,
}

impl<T: HasName> Named<T> {
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        let found = self
            .by_name
            .binary_search_by(|position| self.parts[*position].json_name().cmp(name));
        found.ok().map(|found| self.by_name[found])
    }

    pub(super) fn get_named(&self, name: &str) -> Option<&T> {
        self.position(name).map(|position| &self.parts[position])
    }

    /// Whether two parts have one name.
    pub(super) fn has_duplicates(&self) -> bool {
        let name = |position: usize| self.parts[position].json_name();
        self.by_name.windows(2).any(|pair| name(pair[0]) == name(pair[1]))
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self {
            parts: Box::default(),
            by_name: Box::default(),
        }
    }
}

impl<T> Deref for Named<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.parts
    }
}

impl<'a, T> IntoIterator for &'a Named<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.parts.iter()
    }
}

impl<T: HasName> FromIterator<T> for Named<T> {
    fn from_iter<I: IntoIterator<Item = T>>(parts: I) -> Self {
        let parts: Box<[T]> = parts.into_iter().collect();
        let mut by_name: Box<[usize]> = (0..parts.len()).collect();
        by_name.sort_by(|a, b| parts[*a].json_name().cmp(parts[*b].json_name()));
        Self { parts, by_name }
    }
}

impl HasName for Box<str> {
    fn json_name(&self) -> &str {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_order_and_are_found_by_name() {
        let named = |names: &[&str]| -> Named<Box<str>> { names.iter().map(|name| Box::from(*name)).collect() };
        let parts = named(&["c", "a", "b"]);
        assert_eq!(
            ["a", "b", "c", "d", ""].map(|name| parts.position(name)),
            [Some(1), Some(2), Some(0), None, None]
        );
        assert_eq!(parts.iter().map(|part| &**part).collect::<String>(), "cab");
        assert!(!parts.has_duplicates() && named(&["a", "b", "a"]).has_duplicates());
        assert!(named(&[]).position("a").is_none());
    }
}
