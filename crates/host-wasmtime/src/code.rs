//! Compiled code, before an engine has it.

use std::path::Path;

use wasmtime::{Engine, Result, component::Component};

/// What an engine of this process made of a component, or of another process that was configured like it.
pub(crate) enum Code<'a> {
    Bytes(Vec<u8>),
    /// A file that is replaced, never changed.
    File(&'a Path),
}

impl Code<'_> {
    /// A component for instances of this engine.
    ///
    /// # Errors
    /// It is not for this engine, or its instances have no room there.
    pub(crate) fn load(&self, engine: &Engine) -> Result<Component> {
        match self {
            #[expect(
                unsafe_code,
                reason = "whoever loads it runs what stands in it: an engine wrote it just now"
            )]
            // SAFETY: these are the bytes that an engine of ours has compiled or serialized in this process.
            Self::Bytes(bytes) => unsafe { Component::deserialize(engine, bytes) },
            #[expect(
                unsafe_code,
                reason = "the file is in a directory that only we may write, its checksum says that it is as we wrote it, \
                          and its name that this engine's configuration made it"
            )]
            // SAFETY: an engine of ours wrote these bytes, and files are replaced, never changed.
            Self::File(path) => unsafe { Component::deserialize_file(engine, path) },
        }
    }
}
