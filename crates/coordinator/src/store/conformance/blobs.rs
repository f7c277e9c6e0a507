//! What every store of blobs must do.

use std::{
    io::{Read as _, Seek as _, SeekFrom},
    sync::Arc,
};

use asterism_protocol::{Cid, blob_cid, limits::BLOB_BYTES_MAX};

use object_store::memory::InMemory;

use super::{instantiate, objects::new_store};
use crate::store::{BlobEntry, BlobError, Blobs, FolderBlobs, MemoryBlobs, ObjectBlobs, Stored};

/// A store, and a way to spoil what is in it.
struct Subject<'a> {
    blobs: &'a dyn Blobs,
    corrupt: &'a dyn Fn(Cid),
}

fn many(bytes: u32) -> Vec<u8> {
    (0..bytes).map(|n| (n % 251) as u8).collect()
}

fn listed(blobs: &dyn Blobs) -> Vec<(Cid, u64)> {
    let mut entries = Vec::new();
    let mut see = |entry: BlobEntry| {
        entries.push((entry.cid, entry.size));
        true
    };
    blobs.each(&mut see).unwrap();
    entries.sort_unstable();
    entries
}

mod suite {
    use super::*;

    pub(super) fn bytes_come_back_under_their_cid(Subject { blobs, .. }: &Subject<'_>) {
        let bytes = many(700_000);
        let mut writer = blobs.begin().unwrap();
        bytes
            .chunks(1_000)
            .for_each(|chunk| writer.write(chunk).unwrap());
        let cid = blob_cid(&bytes);
        assert_eq!(
            blobs.size(cid).unwrap(),
            None,
            "nothing is seen before it is finished"
        );
        let stored = writer.finish(Some(cid)).unwrap();
        assert_eq!(stored, Stored { cid, is_new: true });
        assert_eq!(blobs.size(cid).unwrap(), Some(700_000));
        assert_eq!(blobs.get(cid).unwrap().unwrap(), bytes);
        assert_eq!(
            blobs.put(&bytes).unwrap(),
            cid,
            "storing again changes nothing"
        );
        let mut again = blobs.begin().unwrap();
        again.write(&bytes).unwrap();
        let stored = again.finish(None).unwrap();
        assert_eq!(stored, Stored { cid, is_new: false });

        let mut reader = blobs.open(cid).unwrap().unwrap();
        assert_eq!(reader.size(), 700_000);
        // Over the end of a chunk, and of the blob.
        for from in [300_000_usize, 262_140, 699_990] {
            reader.seek(SeekFrom::Start(from as u64)).unwrap();
            let mut part = [0; 10];
            reader.read_exact(&mut part).unwrap();
            assert_eq!(part, bytes[from..from + 10]);
        }
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
    }

    pub(super) fn a_long_blob_is_read_from_anywhere(Subject { blobs, .. }: &Subject<'_>) {
        // Longer than two parts of a store elsewhere, and ending within a chunk.
        let bytes = many(11_000_003);
        let mut writer = blobs.begin().unwrap();
        bytes
            .chunks(3_000_001)
            .for_each(|chunk| writer.write(chunk).unwrap());
        let stored = writer.finish(None).unwrap();
        let cid = blob_cid(&bytes);
        assert_eq!(stored, Stored { cid, is_new: true });
        assert!(blobs.get(cid).unwrap().unwrap() == bytes);
        let mut reader = blobs.open(cid).unwrap().unwrap();
        assert_eq!(reader.size(), 11_000_003);
        for from in [10_999_990_usize, 1_048_570, 0, 5_242_875] {
            reader.seek(SeekFrom::Start(from as u64)).unwrap();
            let mut part = [0; 10];
            reader.read_exact(&mut part).unwrap();
            assert_eq!(part, bytes[from..from + 10]);
        }
        reader.seek(SeekFrom::End(-3)).unwrap();
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, bytes[11_000_000..]);
        assert_eq!(listed(*blobs), [(cid, 11_000_003)]);
    }

    pub(super) fn what_nobody_finishes_is_not_there(Subject { blobs, .. }: &Subject<'_>) {
        let bytes = many(6_000_000);
        for length in [0, 500_000, 6_000_000] {
            let mut writer = blobs.begin().unwrap();
            writer.write(&bytes[..length]).unwrap();
            drop(writer);
            assert!(blobs.open(blob_cid(&bytes[..length])).unwrap().is_none());
        }
        assert_eq!(listed(*blobs), []);
    }

    pub(super) fn of_writers_of_the_same_bytes_nobody_loses(Subject { blobs, .. }: &Subject<'_>) {
        let bytes = many(5_500_000);
        let cid = blob_cid(&bytes);
        std::thread::scope(|scope| {
            let write = |piece: usize| {
                let mut writer = blobs.begin().unwrap();
                bytes
                    .chunks(piece)
                    .for_each(|chunk| writer.write(chunk).unwrap());
                writer.finish(Some(cid)).unwrap();
                assert!(blobs.get(cid).unwrap().unwrap() == bytes);
            };
            for piece in [100_000, 1_000_000, 5_500_000] {
                scope.spawn(move || write(piece));
            }
        });
        assert_eq!(listed(*blobs), [(cid, 5_500_000)]);
    }

    pub(super) fn an_empty_blob_is_a_blob(Subject { blobs, .. }: &Subject<'_>) {
        let cid = blobs.put(b"").unwrap();
        assert_eq!(cid, blob_cid(b""));
        assert_eq!(blobs.get(cid).unwrap().unwrap(), b"");
    }

    pub(super) fn other_bytes_are_refused(Subject { blobs, .. }: &Subject<'_>) {
        let mut writer = blobs.begin().unwrap();
        writer.write(b"not what was promised").unwrap();
        let refused = writer.finish(Some(blob_cid(b"promised")));
        assert!(
            matches!(refused, Err(BlobError::Mismatch(_))),
            "{refused:?}"
        );
        assert!(blobs.open(blob_cid(b"promised")).unwrap().is_none());
        let found = blob_cid(b"not what was promised");
        assert!(blobs.open(found).unwrap().is_none());
    }

    pub(super) fn what_is_here_is_told_listed_and_deleted(Subject { blobs, .. }: &Subject<'_>) {
        let (one, two) = (blobs.put(b"one").unwrap(), blobs.put(b"three").unwrap());
        let absent = blob_cid(b"absent");
        assert_eq!(blobs.has(&[one, absent, two]).unwrap(), [true, false, true]);
        let mut both = [(one, 3), (two, 5)];
        both.sort_unstable();
        assert_eq!(listed(*blobs), both);

        let mut reader = blobs.open(one).unwrap().unwrap();
        assert!(blobs.delete(one).unwrap());
        assert!(!blobs.delete(one).unwrap(), "it is gone already");
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"one", "whoever reads it reads on");
        assert!(blobs.open(one).unwrap().is_none());
        assert_eq!(listed(*blobs), [(two, 5)]);
        assert_eq!(blobs.put(b"one").unwrap(), one);
        assert_eq!(blobs.get(one).unwrap().unwrap(), b"one");
    }

    pub(super) fn a_damaged_blob_is_an_error_until_it_comes_again(subject: &Subject<'_>) {
        let Subject { blobs, corrupt } = subject;
        let bytes = many(600_000);
        let cid = blobs.put(&bytes).unwrap();
        // Read before, so that whoever remembers that it was whole remembers it.
        assert_eq!(blobs.get(cid).unwrap().unwrap(), bytes);
        corrupt(cid);
        for _ in 0..2 {
            let damaged = blobs.get(cid);
            assert!(
                matches!(damaged, Err(BlobError::Corrupted { .. })),
                "{:?}",
                damaged.map(|bytes| bytes.map(|bytes| bytes.len()))
            );
        }
        assert_eq!(blobs.put(&bytes).unwrap(), cid);
        assert_eq!(blobs.get(cid).unwrap().unwrap(), bytes);
    }

    pub(super) fn a_reader_during_a_write_sees_all_or_nothing(Subject { blobs, .. }: &Subject<'_>) {
        let bytes = many(900_000);
        let cid = blob_cid(&bytes);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut writer = blobs.begin().unwrap();
                for chunk in bytes.chunks(10_000) {
                    writer.write(chunk).unwrap();
                }
                writer.finish(None).unwrap();
            });
            while !writer.is_finished() {
                if let Some(seen) = blobs.get(cid).unwrap() {
                    assert!(seen == bytes, "a part of a blob was seen");
                }
            }
            writer.join().unwrap();
        });
        assert!(blobs.get(cid).unwrap().unwrap() == bytes);
    }

    pub(super) fn a_blob_has_a_largest_size(Subject { blobs, .. }: &Subject<'_>) {
        let mut writer = blobs.begin().unwrap();
        let chunk = vec![0; 64 << 20];
        let mut written = 0;
        let refused = loop {
            match writer.write(&chunk) {
                Ok(()) => written += chunk.len() as u64,
                Err(error) => break error,
            }
            assert!(written <= BLOB_BYTES_MAX);
        };
        assert!(matches!(refused, BlobError::TooLarge { .. }), "{refused:?}");
    }
}

fn with_memory(test: &dyn Fn(&Subject<'_>)) {
    let blobs = MemoryBlobs::default();
    let corrupt = |cid| blobs.corrupt(cid);
    test(&Subject {
        blobs: &blobs,
        corrupt: &corrupt,
    });
}

fn with_folder(test: &dyn Fn(&Subject<'_>)) {
    let folder = tempfile::tempdir().unwrap();
    let blobs = FolderBlobs::open(folder.path()).unwrap();
    let corrupt = |cid| blobs.corrupt(cid);
    test(&Subject {
        blobs: &blobs,
        corrupt: &corrupt,
    });
}

fn with(blobs: &ObjectBlobs, test: &dyn Fn(&Subject<'_>)) {
    let corrupt = |cid| blobs.corrupt(cid);
    test(&Subject {
        blobs,
        corrupt: &corrupt,
    });
}

fn with_objects(test: &dyn Fn(&Subject<'_>)) {
    let store = Arc::new(InMemory::new());
    with(
        &ObjectBlobs::open(store, "", "memory:".to_owned()).unwrap(),
        test,
    );
}

/// Below a prefix of a store that others use, too.
fn with_s3(test: &dyn Fn(&Subject<'_>)) {
    with(&new_store(), test);
}

/// All tests of the suite for each of these.
macro_rules! blob_stores {
    ($($name:ident: $with:expr),+ $(,)?) => {
        $(instantiate!($name, suite, $with, [
            bytes_come_back_under_their_cid,
            a_long_blob_is_read_from_anywhere,
            what_nobody_finishes_is_not_there,
            of_writers_of_the_same_bytes_nobody_loses,
            an_empty_blob_is_a_blob,
            other_bytes_are_refused,
            what_is_here_is_told_listed_and_deleted,
            a_damaged_blob_is_an_error_until_it_comes_again,
            a_reader_during_a_write_sees_all_or_nothing,
            a_blob_has_a_largest_size,
        ]);)+
    };
}

blob_stores!(memory: with_memory, folder: with_folder, objects: with_objects, s3: with_s3);
