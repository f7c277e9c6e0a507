//! What was probably meant by a word that is not known.

/// The known word that differs least, if it differs little. Only short words and the first thousand: this
/// is a courtesy in an error text, not worth a stranger's million comparisons.
#[must_use]
pub fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const BYTES: usize = 64;
    const WORDS: usize = 1_000;
    let near = |word: &&str| word.len() <= BYTES && wanted.len() <= BYTES;
    let distances = known
        .take(WORDS)
        .filter(near)
        .map(|word| (edits(wanted, word), word));
    distances
        .filter(|(distance, word)| *distance * 3 <= word.len().max(3))
        .min()
        .map(|(_, word)| word)
}

/// Letters to insert, remove or replace to get from one word to the other (Levenshtein's distance).
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (line, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, b) in to.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[row.len() - 1]
}
