//! `--arg NAME=VALUE`: what is filled in before a workflow is sent.

use std::collections::BTreeMap;

use asterism_document::{Filled, asks_for_args};
use asterism_protocol::{Value as Ipld, value_of_json};

use crate::{
    arguments::{is_json, is_quoted},
    failure::{Exit, Failure},
};

/// Values for the places that a workflow leaves open.
#[derive(clap::Args, Default)]
pub(crate) struct Values {
    /// Value of {{args.NAME}} in the workflow: JSON, or else text; may be repeated
    #[arg(long = "arg", value_name = "NAME=VALUE")]
    args: Vec<String>,
}

impl Values {
    /// The document with a value for every `{{args.NAME}}`; `None` where nothing is to be filled in.
    pub(crate) fn fill(&self, written: &[u8]) -> Result<Option<Filled>, Failure> {
        let values = self.by_name()?;
        if values.is_empty() && !asks_for_args(written) {
            return Ok(None);
        }
        let document = asterism_document::read(written).map_err(|findings| {
            Failure::invalid(
                findings
                    .first()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            )
        })?;
        let filled = asterism_document::with_args(&document, &values).map_err(refused)?;
        Ok(Some(filled))
    }

    /// As [`Values::fill`], and leaves open what has no value. `None` where nothing is to be filled in, or the text cannot
    /// be read: whoever looks for mistakes says why.
    pub(crate) fn fill_as_far_as_given(&self, written: &[u8]) -> Result<Option<Filled>, Failure> {
        let values = self.by_name()?;
        if values.is_empty() && !asks_for_args(written) {
            return Ok(None);
        }
        let Ok(document) = asterism_document::read(written) else {
            return Ok(None);
        };
        Filled::of(&document, &values).map(Some).map_err(refused)
    }

    fn by_name(&self) -> Result<BTreeMap<String, Ipld>, Failure> {
        let values = self.args.iter().map(|arg| {
            let Some((name, value)) = arg.split_once('=') else {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("`--arg {arg}` is not of the form NAME=VALUE"),
                ));
            };
            let value = match value_of_json(value.as_bytes()) {
                Ok(value) => value,
                Err(error) if is_quoted(value) => {
                    return Err(Failure::invalid(format!(
                        "the value of `--arg {arg}` is in quotes and cannot be read so: {error}"
                    )));
                }
                Err(error) if is_json(value) => {
                    let why =
                        format!("the value of `--arg {name}` is JSON and cannot be read: {error}");
                    return Err(Failure::invalid(why)
                        .hint(format!("in quotes it is a text: `--arg '{name}=\"…\"'`")));
                }
                Err(_) => Ipld::String(value.to_owned()),
            };
            Ok((name.to_owned(), value))
        });
        values.collect()
    }
}

fn refused(why: String) -> Failure {
    Failure::invalid(why).hint("`--arg NAME=VALUE` fills in {{args.NAME}}")
}
