//! The guest that looks at its files through Rust's standard library.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
    time::SystemTime,
};

wit_bindgen::generate!({ world: "guest", path: "wit" });

struct Files;

export!(Files);

/// Bytes of a file that [`Guest::visit`] tells.
const BEGIN_BYTES: u64 = 4;

fn in_words(error: io::Error) -> String {
    error.kind().to_string()
}

fn part(path: &Path, begin: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn look(directory: &Path, all: &mut Vec<Found>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let metadata = fs::metadata(&path)?;
        let mut found = Found {
            path: path.to_string_lossy().into_owned(),
            size: metadata.len(),
            is_new: metadata.modified()? == SystemTime::now(),
            begin: String::new(),
        };
        if entry.file_type()?.is_dir() {
            found.path.push('/');
            all.push(found);
            look(&path, all)?;
        } else {
            let begin = part(&path, 0, BEGIN_BYTES)?;
            found.begin = String::from_utf8_lossy(&begin).into_owned();
            all.push(found);
        }
    }
    Ok(())
}

impl Guest for Files {
    fn read_part(path: String, begin: u64, len: u32) -> Result<Vec<u8>, String> {
        part(Path::new(&path), begin, len.into()).map_err(in_words)
    }

    fn visit(path: String) -> Result<Vec<Found>, String> {
        let mut all = Vec::new();
        look(Path::new(&path), &mut all).map_err(in_words)?;
        Ok(all)
    }

    fn fail_at(file: String) -> Vec<String> {
        let file = Path::new(&file);
        let new = file.with_file_name("new");
        let directory = file.parent().unwrap_or(Path::new("/"));
        let tried = [
            ("read what is not there", fs::read(&new).map(drop)),
            ("read a directory", fs::read(directory).map(drop)),
            ("look into a file", fs::read(file.join("in")).map(drop)),
            ("list a file", fs::read_dir(file).map(drop)),
            ("write a new file", fs::write(&new, "written")),
            ("write over a file", fs::write(file, "written")),
            (
                "open a file to write",
                OpenOptions::new().append(true).open(file).map(drop),
            ),
            ("remove a file", fs::remove_file(file)),
            ("rename a file", fs::rename(file, &new)),
            ("make a directory", fs::create_dir(&new)),
        ];
        let outcome = |(what, came): (&str, io::Result<()>)| match came {
            Ok(()) => format!("{what}: done"),
            Err(error) => format!("{what}: {}", in_words(error)),
        };
        tried.map(outcome).into()
    }
}
