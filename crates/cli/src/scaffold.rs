//! `asterism fn new`: a project with a function and its test.

use std::{fs, path::Path};

use crate::{
    commands::function::Language,
    console::{Console, print},
    failure::{Doing as _, Failure},
};

/// What guests may say; the same for every project.
const LOGGING: &str = include_str!("../../../wit/logging.wit");

/// Makes the folder and what is in it.
///
/// # Errors
/// The name is none, something of that name is there, or the folder cannot be written.
pub(crate) fn make(folder: &Path, language: Language, console: &Console) -> Result<(), Failure> {
    let doing = format!("make {}", folder.display());
    let name = folder.file_name().and_then(|name| name.to_str());
    let name = name
        .filter(|name| is_name(name))
        .ok_or_else(|| {
            Failure::invalid("it is not a name for a project")
                .hint("use lower-case words with hyphens, each beginning with a letter: word-count")
        })
        .doing(&doing)?;
    if let Some(whose) = reserved(name, language) {
        let because = format!("`{name}` is a word of {whose}'s own");
        return Err(Failure::invalid(because).hint("choose another name")).doing(&doing);
    }
    if folder.exists() {
        return Err(Failure::invalid("something of that name is there").hint("choose another name"))
            .doing(&doing);
    }
    let files = files(name, language);
    for (path, text) in &files {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| Failure::other(format!("{}: {error}", path.display())))
            .doing(&doing)?;
        print(&path.display().to_string());
    }
    let source = folder.join(source(name, language));
    console.say(&format!(
        "try it:  asterism fn call {} greet world",
        source.display()
    ));
    console.say(&format!(
        "test it: see {}",
        folder.join("README.md").display()
    ));
    Ok(())
}

/// Words of lower-case letters and digits with hyphens between them: a name in Cargo, in npm and in WIT.
fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.split('-').all(|word| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        })
}

/// Words of Rust, and crates that come with it.
const OF_RUST: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Words of WIT: the package and the world have the project's name.
const OF_WIT: &[&str] = &[
    "as",
    "async",
    "bool",
    "borrow",
    "char",
    "constructor",
    "enum",
    "error-context",
    "export",
    "f32",
    "f64",
    "flags",
    "from",
    "func",
    "future",
    "import",
    "include",
    "interface",
    "list",
    "map",
    "option",
    "own",
    "package",
    "record",
    "resource",
    "result",
    "s16",
    "s32",
    "s64",
    "s8",
    "static",
    "stream",
    "string",
    "tuple",
    "type",
    "u16",
    "u32",
    "u64",
    "u8",
    "use",
    "variant",
    "with",
    "world",
];

/// Words of Python: the module has the project's name.
const OF_PYTHON: &[&str] = &[
    "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif",
    "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda",
    "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// Whose own word a name is, so that no project in this language can have it.
fn reserved(name: &str, language: Language) -> Option<&'static str> {
    let lists: &[(&str, &[&str])] = match language {
        Language::Rust => &[("Rust", OF_RUST), ("WIT", OF_WIT)],
        Language::Py => &[("Python", OF_PYTHON)],
        Language::Ts => &[],
    };
    let found = lists.iter().find(|(_, words)| words.contains(&name));
    found.map(|(whose, _)| *whose)
}

fn snake(name: &str) -> String {
    name.replace('-', "_")
}

fn source(name: &str, language: Language) -> String {
    match language {
        Language::Rust => "Cargo.toml".to_owned(),
        Language::Ts => format!("{name}.ts"),
        Language::Py => format!("{}.py", snake(name)),
    }
}

fn files(name: &str, language: Language) -> Vec<(String, String)> {
    let fill = |text: &str| text.replace("NAME", name).replace("MODULE", &snake(name));
    let files: &[(&str, &str)] = match language {
        Language::Rust => &[
            ("Cargo.toml", include_str!("scaffold/rust/Cargo.toml.in")),
            ("src/lib.rs", include_str!("scaffold/rust/lib.rs.in")),
            ("wit/world.wit", include_str!("scaffold/rust/world.wit.in")),
            ("wit/deps/logging/logging.wit", LOGGING),
            ("README.md", include_str!("scaffold/rust/README.md.in")),
            (".gitignore", "/target\n"),
        ],
        Language::Ts => &[
            ("NAME.ts", include_str!("scaffold/ts/function.ts.in")),
            ("package.json", include_str!("scaffold/ts/package.json.in")),
            ("README.md", include_str!("scaffold/ts/README.md.in")),
        ],
        Language::Py => &[
            ("MODULE.py", include_str!("scaffold/py/function.py.in")),
            ("test_MODULE.py", include_str!("scaffold/py/test.py.in")),
            ("README.md", include_str!("scaffold/py/README.md.in")),
        ],
    };
    files
        .iter()
        .map(|(path, text)| {
            // What guests may say is the project's for no language.
            let text = if *text == LOGGING {
                (*text).to_owned()
            } else {
                fill(text)
            };
            (fill(path), text)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_in_every_language() {
        for name in ["a", "word-count", "sha256"] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "", "Word", "9lives", "a--b", "-a", "a_b", "é", "a/b", "..", "a-9",
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
