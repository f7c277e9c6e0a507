//! The files that a guest finds: part of its instruction's input, so that they decide its outcome's name.

use std::{cmp::Ordering, collections::BTreeMap};

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Deserializer};

use crate::{
    Await, Cid, Error, Promise, Value,
    limits::{FILE_PATH_BYTES_MAX, FILES_INLINE_BYTES_MAX, FILES_MAX},
    workflow::{misshapen_promise, shorten},
};

/// What stands under each path: a link to a blob, bytes, a text, or a promise of one of these.
pub type Files = BTreeMap<String, Value>;

/// Reads files that are there. None at all are not written, so an empty map would be a second encoding of that.
pub(crate) fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Files, D::Error> {
    use serde::de::Error as _;
    let files = Files::deserialize(deserializer)?;
    if files.is_empty() {
        return Err(D::Error::custom(EMPTY));
    }
    Ok(files)
}

/// What is wrong with a map of no files.
pub(crate) const EMPTY: &str = "there are none: leave `files` out";

/// Checks that these are files that every host can show a guest: how many, where, and of what. An error's path begins
/// with `files`.
///
/// # Errors
/// The first that is not.
pub fn check_files(files: &Files) -> Result<(), Error> {
    match mistakes(files).into_iter().next() {
        Some((path, reason)) => Err(Error::Value { path, reason }),
        None => Ok(()),
    }
}

/// Everything that [`check_files`] would find: where, and what is wrong there.
pub(crate) fn mistakes(files: &Files) -> Vec<(String, String)> {
    let whole = || "files".to_owned();
    if files.len() > FILES_MAX {
        let reason = format!(
            "{} files are more than the {FILES_MAX} allowed: put them into an archive",
            files.len()
        );
        return vec![(whole(), reason)];
    }
    let mut found = Vec::new();
    let mut paths = Vec::with_capacity(files.len());
    let mut inline = 0;
    for (path, value) in files {
        let odd = check_path(path);
        if odd.is_ok() {
            paths.push(path.as_str());
        }
        let odd = odd.and_then(|()| check_content(value)).err();
        found.extend(odd.map(|reason| at(path, reason)));
        inline += match value {
            Ipld::Bytes(bytes) => bytes.len(),
            Ipld::String(text) => text.len(),
            _ => 0,
        };
    }
    if inline > FILES_INLINE_BYTES_MAX {
        let reason = format!(
            "{inline} bytes are written into the task, {FILES_INLINE_BYTES_MAX} may be: \
             put larger ones as blobs and link to them, {{\"/\": \"bafk…\"}}"
        );
        found.push((whole(), reason));
    }
    // By segments, what is in a directory comes right behind the directory's own path.
    paths.sort_by(|one, other| by_segments(one, other));
    let mut before: Option<&str> = None;
    for path in paths {
        match before.filter(|file| is_inside(path, file)) {
            Some(file) => {
                let reason =
                    format!("`{file}` is a file, so it cannot hold this one: rename one of them");
                found.push(at(path, reason));
            }
            None => before = Some(path),
        }
    }
    found
}

fn is_inside(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.starts_with('/'))
}

fn at(path: &str, reason: String) -> (String, String) {
    (format!("files.{}", shown(path)), reason)
}

/// A path that may be one, whole: a document is searched for it.
pub(crate) fn shown(path: &str) -> String {
    if path.len() <= FILE_PATH_BYTES_MAX {
        path.to_owned()
    } else {
        shorten(path)
    }
}

fn check_path(path: &str) -> Result<(), String> {
    if path.len() > FILE_PATH_BYTES_MAX {
        return Err(format!(
            "a path has at most {FILE_PATH_BYTES_MAX} bytes, this one {}",
            path.len()
        ));
    }
    if path.contains('\0') {
        return Err("a path has no NUL in it".to_owned());
    }
    let odd = |segment: &&str| matches!(*segment, "" | "." | "..");
    match path.split('/').find(odd) {
        None => Ok(()),
        Some("") => Err(
            "a path is relative, with one `/` between its parts, such as `data/in.csv`".to_owned(),
        ),
        Some(segment) => Err(format!(
            "a path has no part `{segment}`: write it as `data/in.csv`, from the root of what the guest sees"
        )),
    }
}

fn check_content(value: &Value) -> Result<(), String> {
    if let Some(promise) = Promise::of_value(value) {
        return match promise.branch {
            Await::Ok | Await::Error => Ok(()),
            Await::Any => Err(format!(
                "`{}` is a pair of branch and value, which is no file: await `{}` or `{}`",
                Await::Any.key(),
                Await::Ok.key(),
                Await::Error.key()
            )),
        };
    }
    match value {
        Ipld::Bytes(_) | Ipld::String(_) => Ok(()),
        Ipld::Link(link) => match Cid::try_from(*link) {
            Ok(cid) if cid.is_blob() => Ok(()),
            _ => Err(format!("{link} is not a blob: `asterism blob put FILE` names one")),
        },
        other => Err(misshapen_promise(other).unwrap_or_else(|| {
            "a file is a link to a blob, {\"/\": \"bafk…\"}, bytes, {\"/\": {\"bytes\": \"…\"}}, a text, or a promise of one of these"
                .to_owned()
        })),
    }
}

/// The order in which everything in a directory follows right behind its path.
fn by_segments(one: &str, other: &str) -> Ordering {
    let separator_first = |byte: u8| if byte == b'/' { 0 } else { byte };
    one.bytes()
        .map(separator_first)
        .cmp(other.bytes().map(separator_first))
}
