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

/// The kebab-case of `snake_case`, `camelCase` and `PascalCase`: two names that agree here are spellings of one.
pub(crate) fn kebab(name: &str) -> String {
    let mut kebab = String::with_capacity(name.len() + 4);
    let mut before = '-';
    for c in name.chars() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_agree() {
        for name in ["echo-bytes", "echo_bytes", "echoBytes", "EchoBytes"] {
            assert_eq!(kebab(name), "echo-bytes");
        }
        assert_eq!(kebab("rotate90"), "rotate90");
        assert_eq!(kebab("parseHTML"), kebab("parse-HTML"));
    }
}
