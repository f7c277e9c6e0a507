//! `wrap MODULE.wasm COMPONENT.wasm`: makes a component of a core module that wit-bindgen built.

use std::{env, error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args_os().skip(1);
    let (Some(module), Some(component), None) = (args.next(), args.next(), args.next()) else {
        return Err("write `wrap MODULE.wasm COMPONENT.wasm`".into());
    };
    fs::write(component, asterism_component::wrap(&fs::read(module)?)?)?;
    Ok(())
}
