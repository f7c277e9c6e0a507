//! `cargo xtask docs`: the guide in `docs/`, as pages in target/docs.

use anyhow::Result;

use crate::{process::Step, setup, workspace};

/// Builds the guide. Its links and commands are tested by `crates/cli/tests/guide.rs`.
pub(crate) fn build() -> Result<()> {
    let mdbook = setup::mdbook()?;
    Step::new("build the guide", mdbook)
        .arg("build")
        .arg(workspace::root().join("docs"))
        .remedy("`cargo xtask docs` again, when what it says above is mended")
        .run()?;
    println!(
        "{}",
        workspace::root().join("target/docs/index.html").display()
    );
    Ok(())
}
