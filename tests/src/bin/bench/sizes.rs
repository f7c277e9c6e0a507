//! What a browser downloads: files of the bundle, compressed as the coordinator sends them.

use std::{collections::BTreeMap, path::Path};

use asterism_tests::harness::panel;

use crate::table::{Row, Table};

/// Which part of the bundle a file belongs to.
fn part(name: &str) -> &'static str {
    match name.split(['-', '.']).next() {
        Some("talk" | "compute") => "workers of a donating tab",
        Some("here") => "worker of \"Run here\", beside that which computes",
        _ => "panel, until it can be used",
    }
}

/// Bytes of a file as it is, and as it is sent.
fn sizes(path: &Path) -> anyhow::Result<(u64, u64)> {
    let raw = std::fs::metadata(path)?.len();
    let twin = std::fs::metadata(path.with_added_extension("br"));
    Ok((raw, twin.map_or(raw, |twin| twin.len())))
}

pub(crate) fn run(table: &mut Table) -> anyhow::Result<()> {
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for entry in std::fs::read_dir(panel())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type()?.is_file() || name.ends_with(".br") {
            continue;
        }
        let (raw, sent) = sizes(&entry.path())?;
        let sum = sums.entry(part(&name)).or_default();
        *sum = (sum.0 + raw, sum.1 + sent);
    }
    for (part, (raw, sent)) in sums {
        let floor = Some((raw as f64 / 1e3, "uncompressed"));
        table.row(&Row {
            bench: "sizes",
            case: part,
            value: sent as f64 / 1e3,
            unit: "KB brotli",
            floor,
        });
    }
    Ok(())
}
