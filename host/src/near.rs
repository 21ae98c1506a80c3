//! Which known name may be meant by one that isn't known.

/// How alike two names are, from 0 to 1, of which one may be meant by the other.
const NEAR: f64 = 0.75;

/// The name that is most alike, if it is enough so to differ by a typing error.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let known = known.into_iter();
    known
        .map(|known| (strsim::normalized_damerau_levenshtein(name, known), known))
        .filter(|(nearness, _)| *nearness >= NEAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}
