//! wasi:filesystem: there are no files. No guest ever holds a descriptor, so no method of one is reached.

use asterism_component::Val;

use crate::{Interface, Stop, Versions, World, resources::other_kind};

pub(crate) const INTERFACES: &[Interface] = &[
    Interface {
        name: "wasi:filesystem/preopens",
        versions: Versions::Wasi02,
        functions: &[("get-directories", nothing)],
    },
    Interface {
        name: "wasi:filesystem/types",
        versions: Versions::Wasi02,
        functions: &[
            ("[method]descriptor.read-via-stream", no_file),
            ("[method]descriptor.write-via-stream", no_file),
            ("[method]descriptor.append-via-stream", no_file),
            ("[method]descriptor.advise", no_file),
            ("[method]descriptor.sync-data", no_file),
            ("[method]descriptor.get-flags", no_file),
            ("[method]descriptor.get-type", no_file),
            ("[method]descriptor.set-size", no_file),
            ("[method]descriptor.set-times", no_file),
            ("[method]descriptor.read", no_file),
            ("[method]descriptor.write", no_file),
            ("[method]descriptor.read-directory", no_file),
            ("[method]descriptor.sync", no_file),
            ("[method]descriptor.create-directory-at", no_file),
            ("[method]descriptor.stat", no_file),
            ("[method]descriptor.stat-at", no_file),
            ("[method]descriptor.set-times-at", no_file),
            ("[method]descriptor.link-at", no_file),
            ("[method]descriptor.open-at", no_file),
            ("[method]descriptor.readlink-at", no_file),
            ("[method]descriptor.remove-directory-at", no_file),
            ("[method]descriptor.rename-at", no_file),
            ("[method]descriptor.symlink-at", no_file),
            ("[method]descriptor.unlink-file-at", no_file),
            ("[method]descriptor.is-same-object", no_file),
            ("[method]descriptor.metadata-hash", no_file),
            ("[method]descriptor.metadata-hash-at", no_file),
            (
                "[method]directory-entry-stream.read-directory-entry",
                no_file,
            ),
            // Of a stream's error, and no stream ever has one.
            ("filesystem-error-code", no_file),
        ],
    },
];

fn nothing(_: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(vec![Val::List(Vec::new())])
}

fn no_file(_: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    other_kind()
}
