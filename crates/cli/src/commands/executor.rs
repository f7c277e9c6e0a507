//! `asterism executor`.

use std::{path::PathBuf, sync::Arc};

use asterism_executor::Host;
use asterism_executor_native::{AllowHttp, Options, Outgoing};
use asterism_host_wasmtime::{MakeHttp, WasmtimeEngine};
use asterism_protocol::check_seen;
use clap::Subcommand;

use crate::{
    authority::OperatorToken,
    client::{Coordinator, json_of},
    commands::stopped,
    console::{Console, print},
    failure::{Doing as _, Failure},
    folders,
};

/// What to do with executors.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Perform tasks until stopped; what is not done then is handed back
    Start {
        #[command(flatten)]
        coordinator: Coordinator,
        /// Another coordinator on the same journal, which is turned to when that one does not answer; may be repeated
        #[arg(long, value_name = "URL")]
        or: Vec<String>,
        /// Folder of the executor's key and of compiled components; without it `executor` in the data folder of `asterism
        /// coordinator`
        #[arg(long, default_value_os_t = folders::executor(), hide_default_value = true, value_name = "DIR")]
        data: PathBuf,
        /// Tasks performed at the same time; one for each processor without it
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
        threads: Option<u32>,
        /// Name for people
        #[arg(long, default_value = "", value_parser = seen)]
        name: String,
        /// Share of time that threads compute, in percent
        #[arg(long, default_value_t = 100, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
        duty: u8,
        /// Most memory that a task may have, in MiB; what wants more is left to other executors
        #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
        memory: Option<u64>,
        /// Longest that a task may run, in seconds; what takes longer is left to other executors
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=30 * 24 * 3600))]
        time: Option<u64>,
        /// What the operator gave its owner, so that it counts as theirs
        #[arg(
            long,
            env = "ASTERISM_ENROLMENT",
            default_value = "",
            hide_env_values = true
        )]
        enrolment: String,
        /// A label that tasks may ask for, as `region=eu`; may be repeated
        #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
        label: Vec<(String, String)>,
        #[command(flatten)]
        http: HttpAllowed,
    },
    /// Who is here, and what is thought of them
    List {
        #[command(flatten)]
        coordinator: Coordinator,
    },
    /// Lease nothing more to an executor; what it holds goes on
    Drain {
        #[command(flatten)]
        which: Which,
        /// Lease to it again
        #[arg(long)]
        undo: bool,
    },
    /// Exclude an executor: nothing is leased to it, nothing believed of it
    Ban {
        #[command(flatten)]
        which: Which,
        /// Why, for its owner and for people
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
        /// Take an exclusion back, also one for a wrong outcome
        #[arg(long, conflicts_with = "reason")]
        undo: bool,
    },
    /// Print the executor's key, making it if there is none: what `asterism coordinator --trust` takes
    Key {
        /// Folder of the executor's key; without it the one of `asterism executor start`
        #[arg(long, default_value_os_t = folders::executor(), hide_default_value = true, value_name = "DIR")]
        data: PathBuf,
    },
}

/// Where tasks may reach beyond their virtual world.
#[derive(clap::Args, Default)]
pub(crate) struct HttpAllowed {
    /// Perform tasks with the effect `wasi:http`, and let them send requests to this host: example.org, *.example.org,
    /// `10.0.0.7` or `[::1]`, with :PORT if it is another than 80 and 443, or * for every public one; may be repeated
    #[arg(long, value_name = "HOST")]
    pub(crate) allow_http: Vec<AllowHttp>,
}

impl HttpAllowed {
    /// Hosts of this engine for an executor with these rules.
    pub(crate) fn hosts(
        &self,
        engine: WasmtimeEngine,
    ) -> impl Fn() -> Box<dyn Host + Send> + Send + Sync + use<> {
        let make = (!self.allow_http.is_empty()).then(|| {
            let outgoing = Outgoing::new(&self.allow_http);
            let make: MakeHttp =
                Arc::new(move |instruction, over| outgoing.of_task(instruction, over));
            make
        });
        move || match &make {
            Some(make) => Box::new(engine.host().with_http(Arc::clone(make))),
            None => Box::new(engine.host()),
        }
    }
}

/// An executor of a coordinator.
#[derive(clap::Args)]
pub(crate) struct Which {
    /// Key of the executor (`did:key:…`), or its name if no other has it
    executor: String,
    #[command(flatten)]
    coordinator: Coordinator,
    #[command(flatten)]
    token: OperatorToken,
}

/// A name that others are shown.
fn seen(text: &str) -> Result<String, String> {
    check_seen(text)?;
    Ok(text.to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("write NAME=VALUE")?;
    check_seen(text)?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Does it.
pub(crate) async fn execute(command: Command, console: &Console) -> Result<(), Failure> {
    match command {
        Command::Start {
            coordinator,
            or,
            data,
            threads,
            name,
            duty,
            memory,
            time,
            enrolment,
            label,
            http: allowed,
        } => {
            let usual = Options::new(coordinator.url(), data);
            let options = Options {
                others: or,
                name,
                duty_percent: duty,
                memory_bytes: memory.map_or(usual.memory_bytes, |mib| mib << 20),
                time_ms: time.map_or(usual.time_ms, |seconds| seconds * 1000),
                threads: threads.unwrap_or(usual.threads),
                enrolment,
                labels: label.into_iter().collect(),
                http: allowed.allow_http.clone(),
                ..usual
            };
            start(options, &allowed).await
        }
        Command::List { coordinator } => list(&coordinator, console).await,
        Command::Drain { which, undo } => {
            let query = [("undo", undo.to_string())];
            decide(&which, "drain", &query, console).await
        }
        Command::Ban {
            which,
            reason,
            undo,
        } => {
            let query = match undo {
                true => ("undo", undo.to_string()),
                false => ("reason", reason),
            };
            decide(&which, "ban", &[query], console).await
        }
        Command::Key { data } => {
            let key = asterism_executor_native::load_key(&data)
                .map_err(|error| Failure::other(error.to_string()))?;
            print(&key.public_key().did());
            Ok(())
        }
    }
}

/// Performs tasks until it is stopped.
async fn start(options: Options, allowed: &HttpAllowed) -> Result<(), Failure> {
    let compiled = options.data.join("compiled");
    let engine =
        WasmtimeEngine::new(Some(&compiled)).map_err(|error| Failure::other(error.to_string()))?;
    asterism_executor_native::run(options, allowed.hosts(engine), stopped())
        .await
        .map_err(|error| Failure::other(error.to_string()))
        .doing("perform tasks")
}

/// Tells the coordinator what the operator decides.
async fn decide(
    which: &Which,
    verb: &str,
    query: &[(&str, String)],
    console: &Console,
) -> Result<(), Failure> {
    let Which {
        executor,
        coordinator,
        token,
    } = which;
    let tokens = token.to_show(coordinator)?;
    let answer = coordinator
        .post_at(&["executors", executor, verb], query, tokens)
        .await
        .doing(format_args!("{verb} executor {executor}"))?;
    if console.json {
        print(&String::from_utf8_lossy(&answer.body));
        return Ok(());
    }
    let decided = json_of(&answer)?;
    print(decided["executor"].as_str().unwrap_or_default());
    Ok(())
}

/// Prints one line for each executor.
async fn list(coordinator: &Coordinator, console: &Console) -> Result<(), Failure> {
    let answer = coordinator.get("/executors", &[]).await?;
    answer.say_missing(console);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    if console.json {
        print(&text);
        return Ok(());
    }
    let executors: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| Failure::other(format!("the answer is not JSON: {error}")))?;
    for executor in executors.as_array().into_iter().flatten() {
        let text =
            |field: &str| asterism_protocol::one_line(executor[field].as_str().unwrap_or_default());
        let number = |field: &str| executor[field].as_u64().unwrap_or_default();
        let name = match text("name") {
            name if name.is_empty() => "-".to_owned(),
            name => name,
        };
        let gone = match executor["connected"].as_bool() {
            Some(false) => " (gone)",
            _ => "",
        };
        let mut line = format!(
            "{}  {name}{gone}  {}  trust {}.{} %  {} task{}  {} right  {} wrong  owner {}",
            text("key"),
            text("standing"),
            number("trust") / 10,
            number("trust") % 10,
            number("tasks"),
            if number("tasks") == 1 { "" } else { "s" },
            number("right"),
            number("wrong"),
            text("owner"),
        );
        let offers = executor["offers"].as_array().into_iter().flatten();
        let offers: Vec<_> = offers
            .filter_map(|name| name.as_str())
            .map(asterism_protocol::one_line)
            .collect();
        if !offers.is_empty() {
            line = format!("{line}  offers {}", offers.join(", "));
        }
        if !text("reason").is_empty() {
            line = format!("{line}\n    {}", text("reason"));
        }
        print(&line);
    }
    Ok(())
}
