//! The guide, page by page: its links lead somewhere, and its commands do what it says they do.

mod reader;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use reader::Reader;

fn guide() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src")
}

fn pages() -> Vec<String> {
    let mut pages: Vec<String> = fs::read_dir(guide())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md"))
        .collect();
    pages.sort();
    pages
}

#[test]
fn every_command_does_what_the_page_says() {
    let mut commands = 0;
    let folder = tempfile::tempdir().unwrap();
    for page in pages() {
        let text = fs::read_to_string(guide().join(&page)).unwrap();
        commands += Reader::new(&page, folder.path(), None).follow(&text);
    }
    assert!(commands >= 10, "only {commands} commands were found");
}

#[test]
fn every_link_leads_to_a_page_and_every_page_is_in_the_summary() {
    let pages: BTreeSet<String> = pages().into_iter().collect();
    let mut listed = BTreeSet::from(["SUMMARY.md".to_owned()]);
    for page in &pages {
        let text = fs::read_to_string(guide().join(page)).unwrap();
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = target.split('#').next().unwrap_or_default();
            if target.starts_with("https://") || target.is_empty() {
                continue;
            }
            if target.ends_with(".png") {
                assert!(
                    guide().join(target).is_file(),
                    "{page}: there is no picture {target}"
                );
                continue;
            }
            assert!(pages.contains(target), "{page}: there is no page {target}");
            if page == "SUMMARY.md" {
                listed.insert(target.to_owned());
            }
        }
    }
    assert_eq!(
        listed, pages,
        "the summary lists other pages than there are"
    );
}
