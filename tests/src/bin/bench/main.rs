//! `cargo xtask bench [NAME…] [--json]`: what Asterism takes, beside a floor of the same run.
//!
//! A bench measures the real programs (see [`asterism_tests::harness`]) and names what it compares with: the
//! **floor**, the least that the same work can take on this machine. `ratio` is value ÷ floor.

#[cfg(target_arch = "wasm32")]
fn main() {}

#[cfg(not(target_arch = "wasm32"))]
mod calls;
#[cfg(not(target_arch = "wasm32"))]
mod connections;
#[cfg(not(target_arch = "wasm32"))]
mod hosts;
#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(target_arch = "wasm32"))]
mod path;
#[cfg(not(target_arch = "wasm32"))]
#[expect(dead_code, reason = "tests ask more of them, and kill them, too")]
#[path = "../../../../crates/coordinator/tests/common/servers/mod.rs"]
mod servers;
#[cfg(not(target_arch = "wasm32"))]
mod sizes;
#[cfg(not(target_arch = "wasm32"))]
mod state;
#[cfg(not(target_arch = "wasm32"))]
mod tab;
#[cfg(not(target_arch = "wasm32"))]
mod table;
#[cfg(not(target_arch = "wasm32"))]
mod workflows;

/// As the program does: what is measured in here is the coordinator's and the executors'.
#[cfg(not(target_arch = "wasm32"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(not(target_arch = "wasm32"))]
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (flags, names): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|arg| arg.starts_with("--"));
    if let Some(unknown) = flags.iter().find(|flag| *flag != "--json") {
        anyhow::bail!("`{unknown}` is not known; write `bench [NAME…] [--json]`");
    }
    const BENCHES: [&str; 9] = [
        "native",
        "path",
        "tab",
        "calls",
        "hosts",
        "workflows",
        "sizes",
        "connections",
        "state",
    ];
    if let Some(unknown) = names.iter().find(|name| !BENCHES.contains(&name.as_str())) {
        anyhow::bail!(
            "there is no bench `{unknown}`; there are {}",
            BENCHES.join(", ")
        );
    }
    let mut table = table::Table::new(flags.iter().any(|flag| flag == "--json"));
    for bench in BENCHES {
        if !names.is_empty() && !names.iter().any(|name| name == bench) {
            continue;
        }
        match bench {
            "native" => native::run(&mut table).await,
            "path" => path::run(&mut table).await?,
            "tab" => tab::run(&mut table).await,
            "calls" => calls::run(&mut table).await?,
            "hosts" => hosts::run(&mut table)?,
            "workflows" => workflows::run(&mut table).await,
            "sizes" => sizes::run(&mut table)?,
            "connections" => connections::run(&mut table).await?,
            // Journals and stores block.
            "state" => tokio::task::block_in_place(|| state::run(&mut table))?,
            other => unreachable!("{other} is in the list above"),
        }
    }
    Ok(())
}
