//! Text of others, shown to people.

/// Could this character, in text of somebody else, change what stands around it: control a terminal, begin a line, turn
/// the direction of writing? Marks of direction are those of Unicode's `Bidi_Control`.
#[must_use]
pub fn is_unruly(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A name that somebody gave, as one line that leaves alone what stands around it: what could not becomes U+FFFD.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if is_unruly(c) { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_where_they_are() {
        assert_eq!(one_line("Zürich → 🛰, עברית"), "Zürich → 🛰, עברית");
        assert_eq!(
            one_line("\u{1b}[31mev\nil\u{202e}\u{2067}\u{2028}"),
            "\u{fffd}[31mev\u{fffd}il\u{fffd}\u{fffd}\u{fffd}"
        );
    }
}
