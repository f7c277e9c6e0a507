//! Python, by componentize-py. The world is inferred from annotations, see `python.py`.

use std::{fs, path::Path};

use serde_json::json;
use tokio::process::Command;

use super::{Missing, Options, javascript::answer, kept, read_made, run, scratch, tools};
use crate::{console::Console, failure::Failure};

const SCRIPT: &str = include_str!("python.py");

/// Stands before a module that implements a world itself. The interpreter that imports them is a guest with no environment, so
/// that only code can tell it to leave nothing beside the author's source.
const START: &str = "import sys

sys.dont_write_bytecode = True

import {module} as _module

globals().update({name: value for name, value in vars(_module).items() if not name.startswith('__')})
";

const PYTHON: Missing<'_> = Missing {
    program: "python",
    remedy: "remove the folder `tools` in asterism's cache folder: the builder is fetched again",
};

/// A component of a module and what it imports from its own folder.
pub(super) async fn build(
    source: &Path,
    options: &Options,
    console: &Console,
) -> Result<Vec<u8>, Failure> {
    let tools = tools::python(console).await?;
    let broken =
        |error: std::io::Error| Failure::other(format!("no script can be written: {error}"));
    let source = fs::canonicalize(source).map_err(broken)?;
    let folder = source.parent().unwrap_or(Path::new("."));
    let (mut order, mut files) = options.order(&source, &tools, SCRIPT);
    // The module is run when the component is made, and may import and read what is beside it: another file is another order.
    files.extend(kept::files_below(folder));
    files.sort();
    order += &format!("{files:?}\n{START}");
    if let Some(made) = kept::find(&order) {
        return Ok(made);
    }
    let scratch = scratch()?;
    let work = scratch.path();
    let (wit, world, module) = match &options.wit {
        // The module itself implements the world, as componentize-py's own documentation tells.
        Some(wit) => {
            let stem = source.file_stem().unwrap_or_default();
            let start = START.replace("{module}", &stem.to_string_lossy());
            fs::write(work.join("asterism_start.py"), start).map_err(broken)?;
            (
                fs::canonicalize(wit).map_err(broken)?,
                options.world.clone(),
                "asterism_start".to_owned(),
            )
        }
        None => {
            let script = work.join("infer.py");
            fs::write(&script, SCRIPT).map_err(broken)?;
            let order = json!({ "source": source, "work": work });
            let mut command = Command::new(tools.join("bin/python"));
            command.arg(&script).arg(order.to_string());
            answer(&run(&mut command, PYTHON).await?)?;
            (
                work.join("wit"),
                Some("guest".to_owned()),
                "asterism_adapter".to_owned(),
            )
        }
    };
    let made = work.join("component.wasm");
    let mut command = Command::new(tools.join("bin/componentize-py"));
    command.current_dir(work).arg("-d").arg(wit);
    if let Some(world) = world {
        command.args(["-w", &world]);
    }
    command.args(["componentize", &module, "-p"]).arg(work);
    command.arg("-p").arg(folder).arg("-o").arg(&made);
    run(&mut command, PYTHON).await?;
    let made = read_made(&made, "componentize-py")?;
    kept::keep(&order, files, &made);
    Ok(made)
}
