//! What a command shows to be allowed what not everybody may: the operator's token, or that of a run.

use std::{
    env,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;

use crate::{
    client::Coordinator,
    failure::{Doing as _, Failure},
    folders,
};

/// The file in a coordinator's data directory.
const FILE: &str = "operator-token";

/// Where `asterism dev` keeps its data.
const OF_DEV: &str = ".asterism";

/// Longest file of a token, in bytes: the token, and an end of the line.
const FILE_BYTES_MAX: u64 = 2 << 10;

/// The operator's token, as it is given.
#[derive(Clone, Default, clap::Args)]
pub(crate) struct OperatorToken {
    /// The operator's token
    #[arg(
        long,
        env = "ASTERISM_OPERATOR_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    operator_token: Option<String>,
    /// File with the operator's token; `operator-token` in the coordinator's data directory without it
    #[arg(
        long,
        env = "ASTERISM_OPERATOR_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "operator_token"
    )]
    operator_token_file: Option<PathBuf>,
}

impl OperatorToken {
    /// The token of a coordinator that is started: the one that is given, or that of its data directory, where it is made on
    /// the first start.
    pub(crate) fn to_serve(&self, data: Option<&Path>) -> Result<Option<String>, Failure> {
        match (self.given()?, data) {
            (Some(token), _) => Ok(Some(token)),
            (None, Some(data)) => kept(data).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// What to show to a coordinator, one after the other until one is enough: the token that is given, or, to one of this
    /// machine, nothing and then those in the folders that it probably keeps its data in.
    pub(crate) fn to_show(
        &self,
        coordinator: &Coordinator,
    ) -> Result<Vec<Option<String>>, Failure> {
        if let Some(token) = self.given()? {
            return Ok(vec![Some(token)]);
        }
        if !coordinator.is_here() {
            return Ok(vec![None]);
        }
        let named = env::var_os("ASTERISM_DATA").map_or_else(folders::data, PathBuf::from);
        // What cannot be read is not shown; whether it was needed, the coordinator says.
        let folders = [named, PathBuf::from(OF_DEV)];
        let tokens = folders.iter().map(|folder| read(&folder.join(FILE)));
        let tokens = tokens.filter_map(Result::ok).map(Some);
        Ok(std::iter::once(None).chain(tokens).collect())
    }

    fn given(&self) -> Result<Option<String>, Failure> {
        match (&self.operator_token, &self.operator_token_file) {
            (Some(token), _) => Ok(Some(token.clone())),
            (None, Some(file)) => read(file)
                .doing(format_args!(
                    "read the operator's token in {}",
                    file.display()
                ))
                .map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// The operator's token of a data directory; made if it is not there, for its owner alone.
pub(crate) fn kept(data: &Path) -> Result<String, Failure> {
    let secret = asterism_executor_native::load_secret(data, FILE)
        .map_err(|error| Failure::other(error.to_string()))
        .doing("read the operator's token")?;
    Ok(HEXLOWER.encode(&secret))
}

fn read(file: &Path) -> Result<String, Failure> {
    let invalid = |error: std::io::Error| Failure::invalid(error.to_string());
    let length = std::fs::metadata(file).map_err(invalid)?.len();
    if length > FILE_BYTES_MAX {
        return Err(Failure::invalid(format!(
            "it has {length} bytes, and a token has {FILE_BYTES_MAX} at most"
        )));
    }
    let text = std::fs::read_to_string(file).map_err(invalid)?;
    Ok(text.trim().to_owned())
}

/// What proves that a run is one's own to end and pause: its token, or the operator's.
#[derive(Clone, Default, clap::Args)]
pub(crate) struct RunToken {
    /// The run's token, which `asterism run` says where the coordinator is elsewhere
    #[arg(
        long,
        env = "ASTERISM_RUN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    run_token: Option<String>,
    #[command(flatten)]
    operator: OperatorToken,
}

impl RunToken {
    /// As [`OperatorToken::to_show`].
    pub(crate) fn to_show(
        &self,
        coordinator: &Coordinator,
    ) -> Result<Vec<Option<String>>, Failure> {
        match &self.run_token {
            Some(token) => Ok(vec![Some(token.clone())]),
            None => self.operator.to_show(coordinator),
        }
    }
}
