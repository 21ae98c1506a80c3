//! The tool's logic, in plain Rust: `cargo test` runs it natively.

#[cfg(target_arch = "wasm32")]
mod component;

/// Counts how often a letter occurs in a text. Upper and lower case are the same letter.
///
/// # Errors
///
/// If `letter` isn't one character.
pub fn count_letter(text: &str, letter: &str) -> Result<u32, String> {
    let mut characters = letter.chars();
    let (Some(letter), None) = (characters.next(), characters.next()) else {
        return Err("`letter` must be one character".to_owned());
    };
    let is_same = |other: &char| other.to_lowercase().eq(letter.to_lowercase());
    Ok(text.chars().filter(is_same).count() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_makes_no_difference() {
        assert_eq!(count_letter("Strawberry R", "r"), Ok(4));
    }

    #[test]
    fn two_letters_are_refused() {
        assert!(count_letter("text", "ab").is_err() && count_letter("text", "").is_err());
    }
}
