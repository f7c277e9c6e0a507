//! `asterism config`.

use clap::Subcommand;
use serde_json::json;

use crate::{
    console::{Console, print},
    settings::Settings,
};

/// What to do with settings.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print what holds without flags: settings of `ASTERISM_*`, of files, and defaults
    Show {
        /// Say where each is from
        #[arg(long)]
        origin: bool,
    },
}

/// Does it; `root` is the whole command line.
pub(crate) fn execute(
    command: &Command,
    settings: &Settings,
    root: &clap::Command,
    console: &Console,
) {
    let Command::Show { origin } = command;
    for setting in settings.effective(root) {
        let mut line = json!({ "flag": setting.flag, "value": setting.value });
        if !setting.command.is_empty() {
            line["command"] = json!(setting.command);
        }
        if *origin {
            line["origin"] = json!(setting.origin);
        }
        if console.json {
            print(&line.to_string());
            continue;
        }
        let command = if setting.command.is_empty() {
            String::new()
        } else {
            format!("{} ", setting.command)
        };
        let origin = if *origin {
            format!("  ({})", setting.origin)
        } else {
            String::new()
        };
        print(&format!(
            "{command}--{} {}{origin}",
            setting.flag, setting.value
        ));
    }
}
