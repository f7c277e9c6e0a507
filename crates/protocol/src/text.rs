//! Text of others, shown to people.

use std::fmt::Write as _;

/// Could this character, in text of somebody else, change what stands around it: control a terminal, begin a line, turn
/// the direction of writing? Marks of direction are those of Unicode's `Bidi_Control`.
#[must_use]
pub fn is_unruly(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text of somebody else as one line that leaves alone what stands around it: what could not is written as JSON writes it,
/// `\n`, `\u001b`, `\u202e`. So a line of JSON stays the JSON that it was.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if is_unruly(c) => {
                // Four digits are enough for all of them. Writing to a string cannot fail.
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line
}

/// The lines of a text of somebody else, for where it stands alone: it keeps its tabs, the rest is as in [`one_line`].
#[must_use]
pub fn lines_of(text: &str) -> Vec<String> {
    let line = |line: &str| {
        let cells: Vec<String> = line.split('\t').map(one_line).collect();
        cells.join("\t")
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_stays_in_its_line() {
        let check = |text: &str, expect: &str| {
            assert_eq!(one_line(text), expect);
            assert_eq!(one_line(expect), expect, "once is enough");
        };
        check("Zürich → 🛰, עברית", "Zürich → 🛰, עברית");
        check("ev\r\nil\ta\0", r"ev\r\nil\ta\u0000");
        check("\u{1b}[31m\u{7f}\u{9b}31m", r"\u001b[31m\u007f\u009b31m");
        check("\u{202e}\u{2067}\u{2028}", r"\u202e\u2067\u2028");
        check("\u{61c}\u{200e}\u{200f}", r"\u061c\u200e\u200f");
    }

    #[test]
    fn text_that_stands_alone_keeps_its_lines() {
        assert_eq!(
            lines_of("a\tb\r\n\n\u{202e}c\rd\n"),
            ["a\tb", "", r"\u202ec\rd"]
        );
    }

    #[test]
    fn json_in_one_line_says_the_same() {
        let said = "a\nb\\ \u{202e}\u{7f}";
        let json = serde_json::json!({ "said": said }).to_string();
        let line = one_line(&json);
        assert!(!line.contains(is_unruly), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["said"], said);
    }
}
