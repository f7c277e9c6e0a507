//! Where there are no mode bits, a user's directories are the user's alone by default.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

pub(super) fn exposed(_file: &File) -> io::Result<Option<u32>> {
    Ok(None)
}

pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}
