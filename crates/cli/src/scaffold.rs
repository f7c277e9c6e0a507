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
