//! `asterism completions` and `asterism man`.

use std::io::Write as _;

use clap_complete::Shell;

use crate::failure::{Doing as _, Failure};

/// For which shell.
#[derive(clap::Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints a script that completes commands and flags.
pub(crate) fn completions(args: &Completions, mut command: clap::Command) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "asterism", &mut script);
    write(&script);
}

/// Prints the manual of the program, or of one of its commands.
pub(crate) fn manual(words: &[String], mut command: clap::Command) -> Result<(), Failure> {
    command.build();
    let mut name = command.get_name().to_owned();
    for word in words {
        let inner = command
            .find_subcommand(word)
            .ok_or_else(|| {
                let names = command.get_subcommands().map(clap::Command::get_name);
                let failure = Failure::invalid(format!("`{name}` has no command `{word}`"));
                match asterism_protocol::nearest(word, names) {
                    Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
                    None => failure,
                }
            })
            .doing("print the manual")?
            .clone();
        name = format!("{name}-{word}");
        command = inner;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command.name(name))
        .render(&mut page)
        .map_err(|error| Failure::other(error.to_string()))
        .doing("print the manual")?;
    write(&page);
    Ok(())
}

/// A reader that went away (`| head`) is no error.
fn write(bytes: &[u8]) {
    let _ = std::io::stdout().lock().write_all(bytes);
}
