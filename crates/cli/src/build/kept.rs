//! Components that were built before, in the user's cache: builders of languages take seconds for what has not changed.
//!
//! What a component was made of is known after it was made, so each entry names its files with their content; it answers as
//! long as all of them are the same. It is kept by what was ordered: source, options, builder.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use asterism_protocol::{Cid, blob_cid};
use serde::{Deserialize, Serialize};

use super::tools::cache;

/// Most components that are kept, the latest: language runtimes make them of some megabytes each.
const KEPT_MAX: usize = 32;

/// Most files that one is made of; larger ones are built each time.
const FILES_MAX: usize = 2_000;

/// Largest file that is looked into, in bytes: a source file may not be larger.
const FILE_BYTES_MAX: u64 = super::SOURCE_BYTES_MAX;

/// Longest entry, in bytes: paths and digests of [`FILES_MAX`] files.
const ENTRY_BYTES_MAX: u64 = 4 << 20;

/// What was made, and of what.
#[derive(Serialize, Deserialize)]
struct Entry {
    component: Cid,
    /// Files with their content; without one where there was no file, which is a reason as well.
    files: Vec<(PathBuf, Option<Cid>)>,
}

/// The component that was made for this order, if nothing that it was made of has changed.
pub(super) fn find(order: &str) -> Option<Vec<u8>> {
    let place = place(order)?;
    let text = read(&place.with_extension("json"), ENTRY_BYTES_MAX)?;
    let entry: Entry = serde_json::from_slice(&text).ok()?;
    for (file, cid) in &entry.files {
        if content(file).ok()? != *cid {
            return None;
        }
    }
    let bytes = fs::read(place.with_extension("wasm")).ok()?;
    (blob_cid(&bytes) == entry.component).then_some(bytes)
}

/// Keeps what was made for an order. Failing costs time later, nothing else.
pub(super) fn keep(order: &str, files: impl IntoIterator<Item = PathBuf>, component: &[u8]) {
    let mut files: Vec<PathBuf> = files.into_iter().take(FILES_MAX + 1).collect();
    files.sort();
    files.dedup();
    let Some(place) = place(order).filter(|_| files.len() <= FILES_MAX) else {
        return;
    };
    // It is built again then.
    let _ = write(&place, files, component);
}

fn write(place: &Path, files: Vec<PathBuf>, component: &[u8]) -> io::Result<()> {
    let mut entry = Entry {
        component: blob_cid(component),
        files: Vec::with_capacity(files.len()),
    };
    for file in files {
        let content = content(&file)?;
        entry.files.push((file, content));
    }
    let entry = serde_json::to_vec(&entry)?;
    let folder = place.parent().unwrap_or(place);
    fs::create_dir_all(folder)?;
    // The entry last: one without its component answers nothing.
    put(&place.with_extension("wasm"), component)?;
    put(&place.with_extension("json"), &entry)?;
    prune(folder)
}

/// Every file below a folder that a build may read, or a few more than may be: hidden ones and what builds leave there are not
/// among them.
pub(super) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let is_made = ["target", "node_modules", "__pycache__"]
                .iter()
                .any(|made| name == *made);
            // Components are what is made of a source, and here beside it.
            let is_made = is_made || path.extension().is_some_and(|ending| ending == "wasm");
            if is_made || name.to_string_lossy().starts_with('.') {
                continue;
            }
            if folders.len() + found.len() > FILES_MAX {
                // Too many to be kept: the rest does not matter.
                found.append(&mut folders);
                return found;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(_) => found.push(path),
                Err(_) => {}
            }
        }
    }
    found
}

fn place(order: &str) -> Option<PathBuf> {
    let folder = cache().ok()?.join("built");
    Some(folder.join(blob_cid(order.as_bytes()).to_string()))
}

/// What is in a file; `None` where there is none. An error where it is too much to look at.
fn content(file: &Path) -> io::Result<Option<Cid>> {
    let Ok(file) = fs::File::open(file) else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("a file is too large"));
    }
    Ok(Some(blob_cid(&bytes)))
}

fn read(file: &Path, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(file).ok()?;
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Whole or not at all, also where two write at the same time.
fn put(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = file.with_extension(format!("{}.new", std::process::id()));
    fs::write(&draft, bytes)?;
    fs::rename(&draft, file)
}

fn prune(folder: &Path) -> io::Result<()> {
    let mut entries: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry
            .path()
            .extension()
            .is_some_and(|ending| ending == "json")
        {
            entries.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    entries.sort();
    let superfluous = entries.len().saturating_sub(KEPT_MAX);
    for (_, entry) in entries.into_iter().take(superfluous) {
        // Somebody else may prune as well.
        let _ = fs::remove_file(&entry);
        let _ = fs::remove_file(entry.with_extension("wasm"));
    }
    Ok(())
}
