//! Writes what a server hands out compressed: `NAME.br` beside each file of the bundle that gains by it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

/// What such a file is called beside its original.
pub(crate) const ENDING: &str = "br";

/// Endings of files that compress well; pictures are compressed already.
const KINDS: [&str; 6] = ["css", "html", "js", "json", "svg", "wasm"];

/// Smaller files gain nothing.
const BYTES_MIN: usize = 1_024;

/// Compresses whatever gains by it in a folder and its folders.
pub(crate) fn folder(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("failed to read the folder {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            self::folder(&path)?;
        } else {
            file(&path).with_context(|| format!("failed to compress {}", path.display()))?;
        }
    }
    Ok(())
}

fn file(path: &Path) -> Result<()> {
    let kind = path.extension().unwrap_or_default().to_string_lossy();
    if !KINDS.contains(&&*kind) {
        return Ok(());
    }
    let bytes = fs::read(path)?;
    let small = bytes_of(&bytes)?;
    if bytes.len() >= BYTES_MIN && small.len() < bytes.len() {
        fs::write(path.with_added_extension(ENDING), small)?;
    }
    Ok(())
}

/// As small as the format makes it: it is done once, and loaded often.
pub(crate) fn bytes_of(bytes: &[u8]) -> Result<Vec<u8>> {
    let params = brotli::enc::BrotliEncoderParams {
        quality: 11,
        lgwin: 22,
        size_hint: bytes.len(),
        ..Default::default()
    };
    let mut small = Vec::new();
    brotli::BrotliCompress(&mut &*bytes, &mut small, &params)?;
    Ok(small)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gains_by_it_has_a_small_twin() {
        let folder = std::env::temp_dir().join(format!("asterism-compress-{}", std::process::id()));
        fs::create_dir_all(folder.join("inner")).expect("a folder");
        let long = "a line that comes again and again\n".repeat(1_000);
        for (name, text) in [
            ("inner/long.js", &*long),
            ("short.js", "1"),
            ("long.png", &*long),
        ] {
            fs::write(folder.join(name), text).expect("a file");
        }
        super::folder(&folder).expect("it compresses");
        let small = fs::read(folder.join("inner/long.js.br")).expect("a twin");
        assert!(small.len() < 1_000);
        let mut back = Vec::new();
        brotli::BrotliDecompress(&mut &*small, &mut back).expect("it is brotli");
        assert_eq!(back, long.as_bytes());
        assert!(!folder.join("short.js.br").exists());
        assert!(!folder.join("long.png.br").exists());
        fs::remove_dir_all(folder).expect("it is ours");
    }
}
