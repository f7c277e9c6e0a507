//! wasi:cli: no environment, no arguments, no input; what is printed becomes log lines.

use asterism_component::Val;

use crate::{Interface, Stop, Versions, World, io::Sink, other_types, resources::Resource};

pub(crate) const INTERFACES: &[Interface] = &[
    Interface {
        name: "wasi:cli/environment",
        versions: Versions::Wasi02,
        functions: &[
            ("get-environment", nothing),
            ("get-arguments", nothing),
            ("initial-cwd", none),
        ],
    },
    Interface {
        name: "wasi:cli/exit",
        versions: Versions::Wasi02,
        functions: &[("exit", exit), ("exit-with-code", exit_with_code)],
    },
    Interface {
        name: "wasi:cli/stdin",
        versions: Versions::Wasi02,
        functions: &[("get-stdin", stdin)],
    },
    Interface {
        name: "wasi:cli/stdout",
        versions: Versions::Wasi02,
        functions: &[("get-stdout", stdout)],
    },
    Interface {
        name: "wasi:cli/stderr",
        versions: Versions::Wasi02,
        functions: &[("get-stderr", stderr)],
    },
    Interface {
        name: "wasi:cli/terminal-stdin",
        versions: Versions::Wasi02,
        functions: &[("get-terminal-stdin", none)],
    },
    Interface {
        name: "wasi:cli/terminal-stdout",
        versions: Versions::Wasi02,
        functions: &[("get-terminal-stdout", none)],
    },
    Interface {
        name: "wasi:cli/terminal-stderr",
        versions: Versions::Wasi02,
        functions: &[("get-terminal-stderr", none)],
    },
];

fn nothing(_: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(vec![Val::List(Vec::new())])
}

fn none(_: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(vec![Val::Option(None)])
}

fn exit(_: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    match args {
        [Val::Result(Ok(None))] => Err(Stop::Exit(0)),
        [Val::Result(Err(None))] => Err(Stop::Exit(1)),
        _ => other_types(),
    }
}

fn exit_with_code(_: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    match args {
        [Val::U8(code)] => Err(Stop::Exit(*code)),
        _ => other_types(),
    }
}

fn stdin(world: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(vec![world.resources.own(Resource::Input)?])
}

fn stdout(world: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(vec![world.resources.own(Resource::Output(Sink::Stdout))?])
}

fn stderr(world: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(vec![world.resources.own(Resource::Output(Sink::Stderr))?])
}
