//! `cargo xtask trunk …`: Trunk, with the wasm-bindgen that Cargo.lock pins.

use std::{env, ffi::OsString, fs, process};

use anyhow::{Context as _, Result};

use crate::{
    process::{Step, path_with},
    setup, workspace,
};

/// Trunk with the given arguments.
pub(crate) fn run(mut args: Vec<OsString>) -> Result<()> {
    let serves = args
        .first()
        .is_some_and(|command| command == "serve" || command == "watch");
    let has_dist = args
        .iter()
        .any(|arg| arg == "-d" || arg.to_string_lossy().starts_with("--dist"));
    if serves && !has_dist {
        // A coordinator may be serving dist/ meanwhile.
        args.extend([
            "--dist".into(),
            workspace::root().join("target/serve").into(),
        ]);
    }
    step("run Trunk")?.args(args).interactive().run()
}

/// Flags of the panel's programs beside those of .cargo/config.toml: without the types of every view, Leptos is a tenth smaller.
const ERASED: (&str, &str) = (
    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
    "--cfg erase_components",
);

/// cargo, building for a page as Trunk does.
pub(crate) fn cargo(purpose: &str) -> Step {
    Step::cargo(purpose).env(ERASED.0, ERASED.1)
}

/// Trunk, installed if it was missing, with everything it needs on its PATH.
pub(crate) fn step(purpose: &str) -> Result<Step> {
    setup::wasm_targets()?;
    let trunk = setup::trunk()?;
    lend_wasm_bindgen()?;
    let step = Step::new(purpose, trunk)
        .env("PATH", path_with(&workspace::tools().join("bin"))?)
        // Otherwise it asks the network whether it is the newest; we know that it is not.
        .env("TRUNK_SKIP_VERSION_CHECK", "true")
        .env(ERASED.0, ERASED.1);
    // Trunk refuses the customary value 1.
    Ok(if env::var_os("NO_COLOR").is_some() {
        step.env("NO_COLOR", "true")
    } else {
        step
    })
}

/// wasm-bindgen, as Trunk calls it. The names of functions are left out, but where somebody debugs: they are a third of a
/// program, and rustc leaves them in for whoever wants to know what a program consists of.
pub(crate) fn wasm_bindgen(mut args: Vec<OsString>) -> Result<()> {
    if !args
        .iter()
        .any(|arg| arg == "--debug" || arg == "--keep-debug")
    {
        args.push("--remove-name-section".into());
    }
    wasm_bindgen_cli::wasm_bindgen::run_cli_with_args(args)
}

/// Puts this very program under the name that Trunk looks for.
fn lend_wasm_bindgen() -> Result<()> {
    let bin = workspace::tools().join("bin");
    let shim = bin.join("wasm-bindgen");
    // Under a name of its own first: two commands may do this at the same time.
    let fresh = bin.join(format!(".wasm-bindgen-{}", process::id()));
    let me = env::current_exe().context("failed to find this program's own file")?;
    fs::create_dir_all(&bin)
        .and_then(|()| fs::hard_link(&me, &fresh).or_else(|_| fs::copy(&me, &fresh).map(drop)))
        .and_then(|()| fs::rename(&fresh, &shim))
        .with_context(|| format!("failed to put wasm-bindgen at {}", shim.display()))?;
    // Renaming one link of a file onto another does nothing and leaves both.
    let _ = fs::remove_file(&fresh);
    Ok(())
}
