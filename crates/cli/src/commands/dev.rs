//! `asterism dev`: from source files to functions that answer, in one process.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use asterism_component::{Function, Type};
use asterism_coordinator::make_private_folder;
use asterism_executor_native as executor;
use asterism_host_wasmtime::WasmtimeEngine;
use asterism_protocol::{Cid, Value, json_of};
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};

use super::{coordinator::not_served, executor::HttpAllowed, function, stopped};
use crate::{
    authority,
    build::{self, Built, cache},
    client::{self, Coordinator},
    console::{Console, print},
    failure::{Doing as _, Failure},
};

/// Ports that are tried from the wanted one on.
const PORTS: u16 = 100;

/// How often it is looked whether the executor has come.
const PERFORMS_EVERY: Duration = Duration::from_millis(10);

/// How often sources are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(400);

/// Most files of a package that are watched: larger ones are built by hand.
const WATCHED_MAX: usize = 10_000;

/// How to develop.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Functions: Cargo.toml, .ts, .js, .py, .c, .wat or .wasm
    files: Vec<PathBuf>,
    /// The same, with a flag; may be repeated
    #[arg(long = "fn", value_name = "FILE")]
    functions: Vec<PathBuf>,
    /// Port; the next free one is taken where it is busy, 0 takes any
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// Folder of what is kept: results, components, keys
    #[arg(long, default_value = ".asterism", value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    http: HttpAllowed,
    /// Keep nothing: all is forgotten at the end
    #[arg(long, conflicts_with = "data")]
    in_memory: bool,
    /// Compute everything anew: nothing is replayed
    #[arg(long)]
    debug: bool,
    /// Build and add again what changes
    #[arg(long)]
    watch: bool,
    /// Open the panel in a browser
    #[arg(long)]
    open: bool,
    /// Folder of the built panel, where this program has none built in
    #[arg(long, value_name = "DIR")]
    panel: Option<PathBuf>,
    /// Tasks performed at the same time; one for each processor without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: Option<u32>,
    #[command(flatten)]
    options: build::Options,
}

/// Builds, serves, performs, until it is told to stop.
pub(crate) async fn serve(args: Args, console: &Console) -> Result<(), Failure> {
    let sources: Vec<PathBuf> = args.files.iter().chain(&args.functions).cloned().collect();
    let mut stopped = std::pin::pin!(stopped());
    // What changes while it is built is built once more.
    let stamps: Vec<Stamp> = sources.iter().map(|source| stamp(source)).collect();
    // Before anything is started: what cannot be built leaves nothing behind.
    let building = async {
        let mut components = Vec::new();
        for source in &sources {
            components.push(build::build(source, &args.options, console).await?);
        }
        Ok::<_, Failure>(components)
    };
    let components = tokio::select! {
        built = building => built?,
        () = &mut stopped => return Ok(()),
    };
    let listener = listen(args.port, console).await?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::other(error.to_string()))?;
    let url = format!("http://localhost:{}", address.port());
    let panel = panel(args.panel.as_deref());

    let data = (!args.in_memory).then_some(&args.data);
    if let Some(data) = data {
        keep_out_of_git(data).doing(format_args!("make {}", data.display()))?;
    }
    let options = asterism_coordinator::Options {
        data: data.cloned(),
        operator_token: data.map(|data| authority::kept(data)).transpose()?,
        panel: panel.clone(),
        diary: true,
        fresh: args.debug,
        ..asterism_coordinator::Options::default()
    };
    let (told, ready) = oneshot::channel();
    let (stop_serving, mut serving_stops) = watch::channel(false);
    asterism_coordinator::raise_file_limit();
    let coordinator = tokio::spawn(asterism_coordinator::serve_when_ready(
        listener,
        options,
        move || {
            // Nobody waits any more where it is stopped meanwhile.
            let _ = told.send(());
        },
        async move {
            // An error says that nobody can stop it any more: stopped as well.
            let _ = serving_stops.changed().await;
        },
    ));
    let result = match ready.await {
        // It ended before it was ready; its own words follow below.
        Err(_) => Ok(()),
        Ok(()) => {
            let here = Coordinator::at(&format!("http://{address}"));
            let run = Running {
                args: &args,
                sources: &sources,
                stamps: &stamps,
                here: &here,
                url: &url,
                has_panel: panel.is_some() || asterism_coordinator::HAS_PANEL,
                console,
            };
            run.until(components, &mut stopped).await
        }
    };
    // As above: where it has ended it need not be told.
    let _ = stop_serving.send(true);
    let served = coordinator
        .await
        .map_err(|error| Failure::other(error.to_string()))?
        .map_err(|error| not_served(&error))
        .doing("serve");
    result.and(served)
}

/// A coordinator that serves, and what is done with it.
struct Running<'a> {
    args: &'a Args,
    sources: &'a [PathBuf],
    /// What they were like before they were built.
    stamps: &'a [Stamp],
    here: &'a Coordinator,
    url: &'a str,
    has_panel: bool,
    console: &'a Console,
}

impl Running<'_> {
    async fn until(
        &self,
        components: Vec<Built>,
        stopped: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<(), Failure> {
        let scratch;
        let data = if self.args.in_memory {
            scratch = tempfile::tempdir().map_err(|error| Failure::other(error.to_string()))?;
            scratch.path().join("executor")
        } else {
            self.args.data.join("executor")
        };
        for built in &components {
            function::add(built, self.here)
                .await
                .doing(format_args!("add {}", built.name))?;
        }
        let engine = WasmtimeEngine::new(Some(&cache()?.join("compiled")))
            .map_err(|error| Failure::other(error.to_string()))?;
        let usual = executor::Options::new(self.here.url(), data);
        let options = executor::Options {
            name: "dev".to_owned(),
            threads: self.args.threads.unwrap_or(usual.threads),
            http: self.args.http.allow_http.clone(),
            ..usual
        };
        let (leave, mut leaves) = watch::channel(false);
        let performing = executor::run(options, self.args.http.hosts(engine), async move {
            // As in `serve`.
            let _ = leaves.changed().await;
        });
        let mut performing = std::pin::pin!(performing);
        let watching = async {
            // What is printed may be asked for at once.
            self.performs().await;
            self.introduce(&components);
            if self.args.open {
                open(self.url);
            }
            if self.args.watch {
                self.watch(&components).await;
            }
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = &mut performing => Some(ended),
            () = watching => None,
            () = stopped => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                self.console
                    .say("stopping: tasks under way are handed back");
                // It listens until it has ended.
                let _ = leave.send(true);
                performing.await
            }
        };
        ended
            .map_err(|error| Failure::other(error.to_string()))
            .doing("perform tasks")
    }

    /// Waits until the executor is here. One that cannot come ends everything by itself.
    async fn performs(&self) {
        loop {
            let answer = self.here.get("/executors", &[]).await;
            let executors = answer
                .and_then(|answer| client::json_of(&answer))
                .unwrap_or_default();
            let mut executors = executors.as_array().into_iter().flatten();
            if executors.any(|executor| executor["connected"] == true) {
                return;
            }
            tokio::time::sleep(PERFORMS_EVERY).await;
        }
    }

    /// What there is, and how to ask for it.
    fn introduce(&self, components: &[Built]) {
        let Self {
            url,
            console,
            has_panel,
            ..
        } = self;
        let signatures: Vec<String> = components.iter().flat_map(Built::signatures).collect();
        let first = components
            .iter()
            .find_map(|built| Some((built.cid(), built.component.functions.first()?)));
        let curl = first.map(|(_, function)| curl(url, function));
        if console.json {
            let functions = json!(signatures);
            return print(
                &json!({ "listening": self.here.url(), "functions": functions, "panel": has_panel, "curl": curl })
                    .to_string(),
            );
        }
        for signature in &signatures {
            print(&format!("  {signature}"));
        }
        match curl {
            Some(curl) => print(&format!("Call it:    {curl}")),
            None => print(&format!(
                "Add one:    asterism fn add FILE --coordinator {url}"
            )),
        }
        if *has_panel {
            print(&format!("Panel:      {url}"));
            print(&format!(
                "Join:       {url}/donate (opened in a browser tab, it computes along)"
            ));
        } else {
            console.say("there is no panel: this program has none built in; `cargo xtask bundle` makes one, --panel DIR names it");
        }
        console.say("Ctrl-C stops.");
    }

    /// Looks at the sources again and again; what changes is built and takes the place of what it was.
    async fn watch(&self, components: &[Built]) {
        let before = self.stamps.iter().copied();
        let mut known: Vec<(Stamp, Cid)> = before.zip(components.iter().map(Built::cid)).collect();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            for (source, (seen, cid)) in self.sources.iter().zip(&mut known) {
                let now = stamp(source);
                if now == *seen {
                    continue;
                }
                // What changes while it is built is built once more.
                *seen = now;
                match self.build_again(source, *cid).await {
                    Ok(new) => *cid = new,
                    Err(failure) => {
                        failure.report(self.console.json);
                        self.console.say("what was there before goes on");
                    }
                }
            }
        }
    }

    async fn build_again(&self, source: &Path, before: Cid) -> Result<Cid, Failure> {
        let built = build::build(source, &self.args.options, self.console).await?;
        let cid = built.cid();
        if cid != before {
            function::add(&built, self.here).await?;
            for signature in built.signatures() {
                self.console.say(&format!("changed: {signature}"));
            }
        }
        Ok(cid)
    }
}

/// The wanted port or the next free one after it.
async fn listen(wanted: u16, console: &Console) -> Result<TcpListener, Failure> {
    let last = wanted.saturating_add(if wanted == 0 { 0 } else { PORTS });
    for port in wanted..=last {
        match TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await {
            Ok(listener) => {
                if port != wanted {
                    console.say(&format!("port {wanted} is taken: this is at {port}"));
                }
                return Ok(listener);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => {
                return Err(Failure::other(error.to_string()))
                    .doing(format_args!("listen on port {port}"));
            }
        }
    }
    Err(Failure::other("they are all taken")
        .hint("choose another with --port; 0 takes any free one"))
    .doing(format_args!("listen on a port from {wanted} to {last}"))
}

/// The named folder; without one that of the repository that this program was built in, if it has been built there.
fn panel(named: Option<&Path>) -> Option<PathBuf> {
    let near = || {
        let program = std::env::current_exe().ok()?;
        // <root>/target/<profile>/asterism
        let folder = program.ancestors().nth(3)?.join("dist");
        folder.join("index.html").is_file().then_some(folder)
    };
    match named {
        Some(folder) => Some(folder.to_owned()),
        None if asterism_coordinator::HAS_PANEL => None,
        None => near(),
    }
}

/// What is kept here is nobody's source.
fn keep_out_of_git(data: &Path) -> Result<(), Failure> {
    let ignore = data.join(".gitignore");
    make_private_folder(data)
        .and_then(|()| {
            if ignore.exists() {
                Ok(())
            } else {
                fs::write(&ignore, "*\n")
            }
        })
        .map_err(|error| Failure::other(error.to_string()))
}

/// A line for a shell that calls the function with values of its types.
fn curl(url: &str, function: &Function) -> String {
    let mut numbers = 1..;
    let args: Vec<Value> = function
        .params
        .iter()
        .map(|(_, ty)| sample(ty, &mut numbers))
        .collect();
    let name = json!(function.name);
    let args = json_of(&Value::List(args));
    let body = format!(
        r#"{{"tasks":[{{"run":{{"name":"first","input":{{"func":{name},"args":{args}}}}}}}]}}"#
    );
    format!("curl {url}/run --data '{}'", body.replace('\'', r"'\''"))
}

/// Some value of the type.
fn sample(ty: &Type, numbers: &mut impl Iterator<Item = i128>) -> Value {
    let single = |key: &str, value: Value| Value::Map(BTreeMap::from([(key.to_owned(), value)]));
    match ty {
        Type::Bool => Value::Bool(true),
        Type::F32 | Type::F64 => Value::Float(numbers.next().unwrap_or(1) as f64 + 0.5),
        Type::S8
        | Type::U8
        | Type::S16
        | Type::U16
        | Type::S32
        | Type::U32
        | Type::S64
        | Type::U64 => Value::Integer(numbers.next().unwrap_or(1) % 100),
        Type::Char => Value::String("a".into()),
        Type::String => Value::String("text".into()),
        Type::List(_) if ty.is_bytes() => Value::Bytes(b"bytes".to_vec()),
        Type::List(element) => Value::List(vec![sample(element, numbers)]),
        Type::FixedList(_, length) if ty.is_bytes() => Value::Bytes(vec![b'a'; *length as usize]),
        Type::FixedList(element, length) => {
            Value::List((0..*length).map(|_| sample(element, numbers)).collect())
        }
        Type::Map(key, item) => {
            let pair = vec![sample(key, numbers), sample(item, numbers)];
            Value::List(vec![Value::List(pair)])
        }
        Type::Tuple(types) => Value::List(types.iter().map(|ty| sample(ty, numbers)).collect()),
        Type::Record(fields) => Value::Map(
            fields
                .iter()
                .map(|(name, ty)| (name.clone(), sample(ty, numbers)))
                .collect(),
        ),
        Type::Variant(cases) => match cases.first() {
            Some((name, Some(ty))) => single(name, sample(ty, numbers)),
            Some((name, None)) => Value::String(name.clone()),
            None => Value::Null,
        },
        Type::Enum(names) => Value::String(names.first().cloned().unwrap_or_default()),
        Type::Flags(names) => {
            Value::List(names.iter().take(1).cloned().map(Value::String).collect())
        }
        Type::Option(inner) if inner.can_be_null() => Value::List(Vec::new()),
        Type::Option(_) => Value::Null,
        Type::Result { ok, .. } => single(
            "ok",
            ok.as_ref().map_or(Value::Null, |ty| sample(ty, numbers)),
        ),
    }
}

/// When what a component is made of changed last, and how much there is of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    newest: Option<SystemTime>,
    files: usize,
    bytes: u64,
}

/// Of a file by itself; of a package everything but what builds leave there.
fn stamp(source: &Path) -> Stamp {
    let mut stamp = Stamp {
        newest: None,
        files: 0,
        bytes: 0,
    };
    let package = if source.is_dir() {
        Some(source)
    } else if source.file_name() == Some("Cargo.toml".as_ref()) {
        source.parent()
    } else {
        None
    };
    match package {
        // `Cargo.toml` alone has an empty parent.
        Some(folder) if folder == Path::new("") => walk(Path::new("."), &mut stamp),
        Some(folder) => walk(folder, &mut stamp),
        None => note(source, &mut stamp),
    }
    stamp
}

fn walk(folder: &Path, stamp: &mut Stamp) {
    // What cannot be read now is looked at again soon.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_built = name == "target" || name == "node_modules";
        if stamp.files >= WATCHED_MAX || is_built || name.to_string_lossy().starts_with('.') {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&path, stamp),
            Ok(kind) if kind.is_file() => note(&path, stamp),
            _ => {}
        }
    }
}

fn note(file: &Path, stamp: &mut Stamp) {
    if let Ok(metadata) = fs::metadata(file) {
        stamp.newest = stamp.newest.max(metadata.modified().ok());
        stamp.files += 1;
        stamp.bytes = stamp.bytes.wrapping_add(metadata.len());
    }
}

/// Opens the page where there is somebody to look at it.
fn open(url: &str) {
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    // A courtesy: the address is printed anyhow.
    let _ = std::process::Command::new(opener)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_for_a_shell_has_values_of_every_type() {
        let point = Type::Record(vec![("x".into(), Type::F64), ("on".into(), Type::Bool)]);
        let function = Function {
            name: "draw".into(),
            params: vec![
                ("at".into(), point),
                ("how".into(), Type::Enum(vec!["it's".into()])),
                ("data".into(), Type::List(Box::new(Type::U8))),
                ("n".into(), Type::Option(Box::new(Type::U8))),
            ],
            result: None,
        };
        let line = curl("http://localhost:3000", &function);
        assert_eq!(
            line,
            r#"curl http://localhost:3000/run --data '{"tasks":[{"run":{"name":"first","input":{"func":"draw","args":[{"on":true,"x":1.5},"it'\''s",{"/":{"bytes":"Ynl0ZXM"}},null]}}}]}'"#
        );
        let args = asterism_component::canonical_args(
            &function,
            &function
                .params
                .iter()
                .map(|(_, ty)| sample(ty, &mut (1..)))
                .collect::<Vec<_>>(),
        );
        assert!(args.is_ok(), "{args:?}");
    }

    #[test]
    fn builds_do_not_count_as_changes() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("Cargo.toml");
        fs::write(&source, "").unwrap();
        let before = stamp(&source);
        fs::create_dir(folder.path().join("target")).unwrap();
        fs::write(folder.path().join("target/a.wasm"), "made").unwrap();
        assert_eq!(stamp(&source), before);
        fs::create_dir(folder.path().join("src")).unwrap();
        fs::write(folder.path().join("src/lib.rs"), "code").unwrap();
        assert_ne!(stamp(&source), before);
    }
}
