//! What people may call a component.

use asterism_protocol::{Cid, check_seen, limits::NAME_BYTES_MAX, marked};

/// What a component may be called, for whoever chooses a name.
pub const COMPONENT_NAMES: &str = "a component's name has 1 to 256 bytes, without `/`, control characters, marks of direction, letters \
                                   that are not seen and white space at its ends; `.`, `..` and CIDs are none";

/// Called so if its own name is none that a component may have.
const NAMELESS: &str = "component";

/// May a component that is added be called this? Those that were added before keep the names that they have.
///
/// # Errors
/// It may not, and why: what completes "because …".
pub fn check_component_name(name: &str) -> Result<(), String> {
    Err(match (name, check_seen(name)) {
        ("", _) => "it is empty".to_owned(),
        ("." | "..", _) => "it means a folder".to_owned(),
        _ if name.len() > NAME_BYTES_MAX => {
            format!("it has {} bytes, more than {NAME_BYTES_MAX}", name.len())
        }
        (_, Err(reason)) => reason,
        // A task that calls `a/b` calls the function `b`.
        _ if name.contains('/') => {
            "it has a `/`, which stands between a component and its function".to_owned()
        }
        _ if name.trim() != name => "white space stands at one of its ends".to_owned(),
        _ if name.parse::<Cid>().is_ok() => {
            "a CID names the component whose bytes it is of, and no other".to_owned()
        }
        _ => return Ok(()),
    })
}

/// What a component is called of whom nobody said it, after its file, its package or its function.
#[must_use]
pub fn component_name(like: &str) -> String {
    let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= NAME_BYTES_MAX;
    let chars = like.trim().char_indices().take_while(fits);
    let cut: String = chars.map(|(_, c)| c).collect();
    // What joins a letter with one that is cut off joins nothing: it is looked at without.
    let chars = marked(cut.trim_end());
    let name: String = chars
        .map(|(c, is_unruly)| if c == '/' || is_unruly { '-' } else { c })
        .collect();
    match check_component_name(&name) {
        Ok(()) => name,
        Err(_) => NAMELESS.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_something_else_are_refused() {
        let check = |name: &str, words: &str| match check_component_name(name) {
            Ok(()) => assert_eq!(words, "", "{name:?} is allowed"),
            Err(reason) => assert!(
                !words.is_empty() && reason.contains(words),
                "{name:?}: {reason}"
            ),
        };
        for name in [
            "math",
            "Zürich → 🛰",
            "two words",
            "a.b",
            "...",
            "עברית",
            "a\\b",
        ] {
            check(name, "");
        }
        check(&"ü".repeat(NAME_BYTES_MAX / 2), "");
        check("", "empty");
        check(".", "folder");
        check("..", "folder");
        check("a/b", "`/`");
        check(&"a".repeat(NAME_BYTES_MAX + 1), "257 bytes");
        check("a\0", "U+0000");
        check("a\nb", "U+000A");
        check("a\u{9b}", "U+009B");
        check("a\u{202e}b", "U+202E");
        check("ma\u{200b}th", "U+200B");
        check("ma\u{200d}th", "U+200D");
        check(" a", "white space");
        check("a\u{a0}", "white space");
        check(&asterism_protocol::blob_cid(b"a").to_string(), "CID");
        assert!(COMPONENT_NAMES.contains(&format!("1 to {NAME_BYTES_MAX} bytes")));
    }

    #[test]
    fn what_was_not_chosen_as_a_name_becomes_one() {
        let cid = asterism_protocol::blob_cid(b"a").to_string();
        for (like, expect) in [
            ("math", "math"),
            ("a/b\nc\u{202e}", "a-b-c-"),
            ("ma\u{200b}th", "ma-th"),
            (" two words\n", "two words"),
            ("", NAMELESS),
            ("..", NAMELESS),
            (cid.as_str(), NAMELESS),
        ] {
            assert_eq!(component_name(like), expect, "{like:?}");
        }
        // Cut between letters, and not before white space.
        let long = "a".repeat(NAME_BYTES_MAX - 2) + " üb";
        assert_eq!(component_name(&long), "a".repeat(NAME_BYTES_MAX - 2));
        // Nor between two letters that are joined.
        let most = "a".repeat(NAME_BYTES_MAX - 5);
        let joined = format!("{most}م\u{200c}م");
        assert_eq!(component_name(&joined), format!("{most}م-"));
    }
}
