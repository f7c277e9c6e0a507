//! Where blobs are kept, if not in the folder of their coordinator.

use std::{
    fmt, io,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

/// Longest prefix in a bucket, in bytes: with a blob's name a key stays well below what stores take.
const PREFIX_BYTES_MAX: usize = 512;

/// A place for blobs: `memory:`, a folder, or `s3://bucket/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobPlace {
    /// This process alone; they end with it.
    Memory,
    /// A folder.
    Folder(PathBuf),
    /// S3, or what speaks like it.
    S3 {
        /// The bucket.
        bucket: String,
        /// What the names of all objects begin with, without slashes at its ends; may be empty.
        prefix: String,
    },
}

/// Why a text names no place. It does not repeat the text, which may hold a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBlobPlace {
    /// Neither a path nor an address that is known.
    #[error("it is not of the form s3://bucket/prefix, file:///folder, memory: or /folder")]
    Form,
    /// A file on another machine, or with an encoded path.
    #[error(
        "a folder is written file:///folder, with no host and nothing encoded by `%`, or just as its path"
    )]
    File,
    /// Not what a bucket may be called.
    #[error(
        "a bucket's name has 3 to 63 small letters, digits, dots and dashes; keys are no part of the address: they are in \
         AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )]
    Bucket,
    /// Not what objects may begin with.
    #[error("a prefix has at most 512 letters, digits and `-_.=` between slashes")]
    Prefix,
}

impl BlobPlace {
    /// The same place wherever it is read from: relative folders begin at the working directory.
    ///
    /// # Errors
    /// There is no working directory.
    pub fn absolute(self) -> io::Result<Self> {
        Ok(match self {
            Self::Folder(path) => Self::Folder(std::path::absolute(path)?),
            other => other,
        })
    }

    /// A relative folder becomes one within `base`.
    #[must_use]
    pub fn within(self, base: &Path) -> Self {
        match self {
            Self::Folder(path) => Self::Folder(base.join(path)),
            other => other,
        }
    }
}

impl FromStr for BlobPlace {
    type Err = NoBlobPlace;

    fn from_str(text: &str) -> Result<Self, NoBlobPlace> {
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        if let Some(path) = text.strip_prefix("file://") {
            let plain = path.starts_with('/') && !path.contains(['%', '?', '#']);
            return plain
                .then(|| Self::Folder(path.into()))
                .ok_or(NoBlobPlace::File);
        }
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            return s3(bucket, prefix.trim_matches('/'));
        }
        // What is written like an address is a slip, and no folder of that name.
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        let is_address = scheme.len() > 1 && scheme.chars().all(|c| c.is_ascii_alphanumeric());
        let path = Path::new(text);
        let is_path = path.components().any(|part| part != Component::CurDir);
        if is_address || !is_path {
            return Err(NoBlobPlace::Form);
        }
        Ok(Self::Folder(path.to_owned()))
    }
}

fn s3(bucket: &str, prefix: &str) -> Result<BlobPlace, NoBlobPlace> {
    let in_bucket = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
    if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(in_bucket) {
        return Err(NoBlobPlace::Bucket);
    }
    let in_prefix = |c: char| c.is_ascii_alphanumeric() || "-_.=".contains(c);
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(in_prefix);
    let is_prefix = prefix.is_empty() || prefix.split('/').all(is_part);
    if prefix.len() > PREFIX_BYTES_MAX || !is_prefix {
        return Err(NoBlobPlace::Prefix);
    }
    Ok(BlobPlace::S3 {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    })
}

impl fmt::Display for BlobPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_shown_in_one_way() {
        for (text, shown) in [
            ("memory:", "memory:"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://my.bucket-1/a/b_c=d/", "s3://my.bucket-1/a/b_c=d"),
            ("file:///srv/blobs", "/srv/blobs"),
            ("/srv/blobs", "/srv/blobs"),
            ("blobs", "blobs"),
            ("../a:b", "../a:b"),
        ] {
            let place: BlobPlace = text.parse().unwrap();
            assert_eq!(place.to_string(), shown);
            assert_eq!(place.to_string().parse(), Ok(place));
        }
    }

    #[test]
    fn a_mistake_in_a_place_does_not_repeat_it() {
        for text in [
            "",
            ".",
            "gs://secret/prefix",
            "https://secret",
            "memory:secret",
            "file://secret/folder",
            "file:///secret%20folder",
            "s3://",
            "s3://ab",
            "s3://key:secret@bucket/prefix",
            "s3://Secret/prefix",
            "s3://bucket/a//secret",
            "s3://bucket/../secret",
            "s3://bucket/a?secret",
        ] {
            let error = text.parse::<BlobPlace>().unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(
                !said.to_lowercase().contains("secret") || said.contains("AWS_SECRET"),
                "{text}: {said}"
            );
        }
    }

    #[test]
    fn a_relative_folder_begins_where_it_is_written() {
        let place: BlobPlace = "blobs".parse().unwrap();
        let within = place.clone().within(Path::new("/etc"));
        assert_eq!(within.to_string(), "/etc/blobs");
        assert!(place.absolute().unwrap().to_string().starts_with('/'));
    }
}
