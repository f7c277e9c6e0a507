//! What a browser downloads.

use std::{collections::BTreeMap, io::Write as _};

use asterism_tests::harness::panel;

use crate::table::{Row, Table};

pub(crate) fn run(table: &mut Table) -> anyhow::Result<()> {
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for entry in std::fs::read_dir(panel())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type()?.is_file() {
            continue;
        }
        let part = if name.starts_with("worker") {
            "worker"
        } else {
            "panel"
        };
        let bytes = std::fs::read(entry.path())?;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&bytes)?;
        let sum = sums.entry(part).or_default();
        *sum = (
            sum.0 + bytes.len() as u64,
            sum.1 + gzip.finish()?.len() as u64,
        );
    }
    for (part, (raw, gzip)) in sums {
        let floor = Some((raw as f64 / 1e3, "uncompressed"));
        table.row(&Row {
            bench: "sizes",
            case: part,
            value: gzip as f64 / 1e3,
            unit: "KB gzip",
            floor,
        });
    }
    Ok(())
}
