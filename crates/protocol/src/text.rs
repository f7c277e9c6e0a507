//! Text of others, shown to people.

use std::{fmt::Write as _, iter, ops::RangeInclusive};

/// Could this character, in text of somebody else, change what stands around it (control a terminal, begin a line, turn the
/// direction of writing), or make it look like another one, as it is not seen? Of what joins letters and chooses their form
/// that depends on what it stands beside: [`marked`] tells.
#[must_use]
pub fn is_unruly(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || is_invisible(c)
}

/// Unicode's `Default_Ignorable_Code_Point`, with all marks of direction, and annotations between lines; without joiners and
/// the selectors of forms.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Each character of a text, and whether it is unruly where it stands.
pub fn marked(text: &str) -> impl Iterator<Item = (char, bool)> {
    let mut chars = text.chars().peekable();
    let mut before = None;
    iter::from_fn(move || {
        let c = chars.next()?;
        let is_unruly = is_unruly(c) || is_idle(before, c, chars.peek().copied());
        before = Some(c);
        Some((c, is_unruly))
    })
}

const JOINERS: RangeInclusive<char> = '\u{200c}'..='\u{200d}';
const SELECTORS: RangeInclusive<char> = '\u{fe00}'..='\u{fe0f}';

/// Mongolian's own selectors of forms, and what parts its last vowel from the rest of a word.
const MONGOLIAN_SELECTORS: RangeInclusive<char> = '\u{180b}'..='\u{180f}';

/// Blocks whose letters nothing joins: what stands between them is not seen.
const NEVER_JOINED: [RangeInclusive<char>; 9] = [
    // Latin, Greek, Cyrillic, Armenian, Hebrew.
    '\0'..='\u{5ff}',
    // Thai and Lao.
    '\u{e00}'..='\u{eff}',
    // Georgian, Korean, Ethiopic.
    '\u{10a0}'..='\u{139f}',
    // Latin and Greek with accents.
    '\u{1e00}'..='\u{1fff}',
    // Chinese, Japanese, Korean, and forms of all of these.
    '\u{2e80}'..='\u{a4cf}',
    '\u{ac00}'..='\u{d7ff}',
    '\u{f900}'..='\u{fb4f}',
    '\u{ff00}'..='\u{ffef}',
    '\u{20000}'..='\u{3ffff}',
];

/// Does it join letters or choose their form, and has none beside it for which that is done? Then it is not seen. Letters of
/// Arabic and of India are joined, and pictures.
fn is_idle(before: Option<char>, c: char, after: Option<char>) -> bool {
    let is_seen = |c: char| !c.is_whitespace() && !is_unruly(c) && !JOINERS.contains(&c);
    let is_joined = |c: char| is_seen(c) && !NEVER_JOINED.iter().any(|block| block.contains(&c));
    match c {
        // It chooses the form of what it is behind, also at the end of a word.
        '\u{200d}' if before.is_some_and(is_virama) => false,
        // Of what is behind it nothing can be joined that is not seen itself.
        c if JOINERS.contains(&c) => {
            let joins = |c: char| is_joined(c) && !SELECTORS.contains(&c);
            !(before.is_some_and(is_joined) && after.is_some_and(joins))
        }
        // `1` and this, and a frame around both: a key.
        '\u{fe0f}' if after == Some('\u{20e3}') => {
            !before.is_some_and(|c| matches!(c, '0'..='9' | '#' | '*'))
        }
        c if SELECTORS.contains(&c) => {
            let has_forms = |c: char| c >= '\u{2000}' || matches!(c, '©' | '®');
            !before.is_some_and(|c| is_seen(c) && has_forms(c) && !SELECTORS.contains(&c))
        }
        c if MONGOLIAN_SELECTORS.contains(&c) => {
            !before.is_some_and(|c| matches!(c, '\u{1820}'..='\u{18aa}'))
        }
        _ => false,
    }
}

/// Does it take the vowel from a letter of India, which has other forms then?
fn is_virama(c: char) -> bool {
    matches!(
        c,
        '\u{94d}'
            | '\u{9cd}'
            | '\u{a4d}'
            | '\u{acd}'
            | '\u{b4d}'
            | '\u{bcd}'
            | '\u{c4d}'
            | '\u{ccd}'
            | '\u{d4d}'
            | '\u{dca}'
    )
}

/// May it be a name, which is shown to other people and told from others by how it looks?
///
/// # Errors
/// It has a character that is unruly: what completes "because …".
pub fn check_seen(name: &str) -> Result<(), String> {
    match marked(name).find(|(_, is_unruly)| *is_unruly) {
        None => Ok(()),
        Some((c, _)) => Err(format!(
            "it has the character U+{:04X}, which is not seen or changes what it stands beside",
            u32::from(c)
        )),
    }
}

/// Text of somebody else as one line that leaves alone what stands around it: what could not is written as JSON writes it,
/// `\n`, `\u001b`, `\u202e`, and so is what is not seen. So a line of JSON stays the JSON that it was.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for (c, is_unruly) in marked(text) {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if is_unruly => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(line, "\\u{unit:04x}");
                }
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
    fn what_is_not_seen_in_text_of_others_is_shown() {
        let check = |text: &str, expect: &str| {
            assert_eq!(one_line(text), expect);
            assert_eq!(check_seen(text).is_ok(), text == expect, "{expect}");
        };
        check(
            "ma\u{200b}th\u{2060}\u{feff}\u{ad}",
            r"ma\u200bth\u2060\ufeff\u00ad",
        );
        check("a\u{e0061}\u{3164}", r"a\udb40\udc61\u3164");
        // Joiners and selectors are seen where something is joined or has forms.
        check("می\u{200c}خواهم", "می\u{200c}خواهم");
        check(
            "👩\u{200d}💻 ❤\u{fe0f}\u{200d}🔥 ©\u{fe0f}",
            "👩\u{200d}💻 ❤\u{fe0f}\u{200d}🔥 ©\u{fe0f}",
        );
        check("ma\u{200d}th а\u{200c}б", r"ma\u200dth а\u200cб");
        check("🛰\u{200d}", r"🛰\u200d");
        check("a\u{fe0f}🛰\u{fe0f}\u{fe0f}", "a\\ufe0f🛰\u{fe0f}\\ufe0f");
        check(
            "1\u{fe0f}\u{20e3} #\u{fe0f}\u{20e3}",
            "1\u{fe0f}\u{20e3} #\u{fe0f}\u{20e3}",
        );
        check("a\u{fe0f}\u{20e3}", "a\\ufe0f\u{20e3}");
        // Malayalam at the end of a word, and Mongolian.
        let malayalam = "\u{d05}\u{d35}\u{d28}\u{d4d}\u{200d}";
        check(malayalam, malayalam);
        let mongolian = "\u{1820}\u{182c}\u{180e}\u{1820}";
        check(mongolian, mongolian);
        check("ma\u{180b}th", r"ma\u180bth");
    }

    #[test]
    fn what_would_join_or_choose_in_vain_is_shown() {
        for (text, expect) in [
            // Each for the other, and neither is seen.
            ("م\u{200d}\u{fe0f}", r"م\u200d\ufe0f"),
            ("数\u{200d}学", r"数\u200d学"),
            ("한\u{200c}글", r"한\u200c글"),
            ("ệ\u{200d}ệ", r"ệ\u200dệ"),
            ("cafe\u{301}\u{fe0f}", "cafe\u{301}\\ufe0f"),
        ] {
            assert_eq!(one_line(text), expect);
            assert!(check_seen(text).is_err(), "{expect}");
        }
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
        let said = "a\nb\\ \u{202e}\u{7f}\u{e0061}";
        let json = serde_json::json!({ "said": said }).to_string();
        let line = one_line(&json);
        assert!(!line.contains(is_unruly), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["said"], said);
    }
}
