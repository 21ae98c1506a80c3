//! What a program for WASI 0.1 can be passed. The adapter reads the arguments, and the variables, into a buffer of fixed size, and
//! traps where they don't fit.

use std::collections::BTreeMap;

/// The most bytes of the arguments, or of the variables: 8 bytes for each text, and the longest one. The adapter's buffer is
/// somewhat larger: a page of 64 KiB without the adapter's own state, which can differ from version to version.
pub(in crate::sandbox) const MAX_ADAPTED: u64 = 56 * 1024;

/// Bytes of a text in a list: its address and its length.
const PER_TEXT: u64 = 8;

/// What these arguments take of [`MAX_ADAPTED`], the name of the program among them, if that is more.
pub(in crate::sandbox) fn oversized_arguments<'a>(arguments: impl IntoIterator<Item = &'a String>) -> Option<u64> {
    let (mut list, mut longest) = (0_u64, 0);
    for text in arguments {
        list = list.saturating_add(PER_TEXT);
        longest = longest.max(text.len() as u64);
    }
    Some(list.saturating_add(longest)).filter(|bytes| *bytes > MAX_ADAPTED)
}

/// The same for the variables, whose names and values are texts.
pub(in crate::sandbox) fn oversized_variables(variables: &BTreeMap<String, String>) -> Option<u64> {
    oversized_arguments(variables.iter().flat_map(|(name, value)| [name, value]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_text_and_the_number_of_texts_count() {
        let of = |texts: &[usize]| {
            let texts: Vec<String> = texts.iter().map(|bytes| "x".repeat(*bytes)).collect();
            oversized_arguments(&texts)
        };
        let most = 56 * 1024;
        for fits in [&[1, most - 16][..], &[most - 24; 3], &[0; 7_168], &[]] {
            assert_eq!(of(fits), None, "{}", fits.len());
        }
        for (too_long, bytes) in [
            (&[1, most - 15][..], 57_345),
            (&[most - 23; 3], 57_345),
            (&[0; 7_169], 57_352),
        ] {
            assert_eq!(of(too_long), Some(bytes), "{}", too_long.len());
        }
    }

    #[test]
    fn variables_count_by_name_and_value() {
        let with = |bytes: usize| oversized_variables(&[("A".to_owned(), "x".repeat(bytes))].into());
        assert_eq!(with(56 * 1024 - 16), None);
        assert_eq!(with(56 * 1024 - 15), Some(57_345));
    }
}
