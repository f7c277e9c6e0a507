//! The examples' READMEs, followed to the letter in copies of their folders.

mod reader;

use std::{fs, path::Path};

use reader::Reader;

fn follow(example: &str) -> usize {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let copy = tempfile::tempdir().unwrap();
    copy_into(&source.join(example), copy.path());
    let page = format!("examples/{example}/README.md");
    let text = fs::read_to_string(source.join(example).join("README.md")).unwrap();
    // Dependencies are compiled and builders fetched once, not for each copy.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    Reader::new(&page, copy.path(), target).follow(&text)
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_file() {
            fs::copy(path, target).unwrap();
        } else if entry.file_name() != "target" {
            fs::create_dir(&target).unwrap();
            copy_into(&path, &target);
        }
    }
}

#[test]
fn factorial() {
    assert_eq!(follow("factorial"), 8);
}

#[test]
fn greet() {
    assert_eq!(follow("greet"), 3);
}

#[test]
fn image() {
    assert_eq!(follow("image"), 6);
}

#[test]
fn math() {
    assert_eq!(follow("math"), 7);
}
