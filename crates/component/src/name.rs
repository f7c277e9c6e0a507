//! Names of functions and fields, and the spellings of other languages.

/// The interface and the bare name of `ns:pkg/iface@version#name`.
pub(crate) fn split(name: &str) -> (Option<&str>, &str) {
    match name.rsplit_once('#') {
        Some((interface, func)) => (Some(interface), func),
        None => (None, name),
    }
}

/// The interface without its version.
pub(crate) fn without_version(interface: &str) -> &str {
    interface
        .split_once('@')
        .map_or(interface, |(interface, _)| interface)
}

/// The kebab-case of `snake_case`, `camelCase` and `PascalCase`: two names that agree here are spellings of one. Underscores
/// before a name are of compilers (`_factorial`), and words of WIT do not begin with a digit (`rotate_90`).
pub(crate) fn kebab(name: &str) -> String {
    let mut kebab = String::with_capacity(name.len() + 4);
    let mut before = '-';
    for c in name.trim_start_matches('_').chars() {
        if c.is_ascii_digit() && kebab.ends_with('-') {
            kebab.pop();
        }
        if c == '_' || c == '-' {
            kebab.push('-');
        } else {
            // `parseHTML` and `parse-HTML` are one name: acronyms of WIT are written in capitals.
            if c.is_ascii_uppercase()
                && !before.is_ascii_uppercase()
                && before != '-'
                && before != '_'
            {
                kebab.push('-');
            }
            kebab.push(c.to_ascii_lowercase());
        }
        before = c;
    }
    kebab
}

/// The name in WIT of an export of a core module; `None` if it has none.
#[cfg(feature = "wrap")]
pub(crate) fn wit(name: &str) -> Option<String> {
    // What is left of a name without its letters is another name.
    if name.chars().any(|c| c.is_alphanumeric() && !c.is_ascii()) {
        return None;
    }
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let kebab = kebab(name.trim_matches('-'));
    let words: Vec<_> = kebab.split('-').filter(|word| !word.is_empty()).collect();
    let is_name = words.first()?.starts_with(|c: char| c.is_ascii_lowercase());
    is_name.then(|| words.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_agree() {
        for name in ["echo-bytes", "echo_bytes", "echoBytes", "EchoBytes"] {
            assert_eq!(kebab(name), "echo-bytes");
        }
        for name in ["rotate90", "rotate_90", "_rotate90"] {
            assert_eq!(kebab(name), "rotate90");
        }
        assert_eq!(kebab("parseHTML"), kebab("parse-HTML"));
    }

    #[cfg(feature = "wrap")]
    #[test]
    fn exports_of_core_modules_get_names_of_wit() {
        let wit = |name| wit(name).unwrap_or_default();
        assert_eq!(wit("_factorial"), "factorial");
        assert_eq!(wit("addNumbers"), "add-numbers");
        assert_eq!(wit("std::mul_2"), "std-mul2");
        assert_eq!(wit("a__b"), "a-b");
        assert_eq!(wit("2fast"), "");
        assert_eq!(wit("__"), "");
        assert_eq!(wit("\u{dc}n\u{ef}"), "");
    }
}
