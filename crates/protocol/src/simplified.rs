//! The form people write: names instead of CIDs, `{{needs.<name>.output}}` instead of promises.
//!
//! A task may leave out what has a default. A full workflow, where every task says all of `rsc`, `op`, `input`
//! and `nnc` and none has a name or a placeholder, keeps the CIDs it came with.

mod grammar;
mod mistakes;

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Serialize};

use self::grammar::{INPUT, META, RUN, TASK, WORKFLOW};
pub use self::mistakes::mistakes;
use crate::{
    Await, Cid, Effects, EncodedTask, Error, Files, Input, Instruction, Meta, Nonce, Promise, Task,
    Value, Workflow, WorkflowError, decode, effects, encode, files,
    instruction::OP_WASM_RUN,
    limits::{MEMORY_BYTES_DEFAULT, NAME_BYTES_MAX, TIME_MS_DEFAULT},
    workflow::{Circle, check_task, shorten, topological_order},
};

/// What preparing needs to know of functions: which component exports one, and how its arguments are made canonical.
pub trait FunctionLookup {
    /// The component that exports `func` and the function's WIT spelling; `rsc` is the component if the task names one.
    ///
    /// # Errors
    /// A sentence for the author: unknown function with the nearest known one, several components that export it.
    fn find(&self, func: &str, rsc: Option<Cid>) -> Result<(Cid, String), String>;

    /// The arguments in canonical form by the function's types (integer 5 for an `f64` becomes 5.0). Promises pass unchecked.
    ///
    /// # Errors
    /// The place and what is wrong there: `args[1]: 300 does not fit u8`.
    fn canonical(&self, component: Cid, func: &str, args: Vec<Value>)
    -> Result<Vec<Value>, String>;

    /// Every mistake in the arguments, each as [`FunctionLookup::canonical`] tells the first.
    fn mistakes(&self, component: Cid, func: &str, args: Vec<Value>) -> Vec<String> {
        self.canonical(component, func, args)
            .err()
            .into_iter()
            .collect()
    }

    /// Can a guest of this component look at files? One that imports no file system never sees what a task gives it.
    fn reads_files(&self, _component: Cid) -> bool {
        true
    }

    /// Can a guest of this component have an effect? One that does not import what has it never does.
    fn has_effect(&self, _component: Cid, _effect: &str) -> bool {
        true
    }
}

/// What a task that is silent gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Defaults {
    /// A nonce for every task that has none: nothing replays.
    pub nonce: Option<String>,
    /// What makes the nonces of tasks with effects that have none, which no two submissions may share. Where nothing is
    /// submitted, it may be anything.
    pub seed: [u8; 12],
}

/// A simplified workflow, prepared.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The full workflow.
    pub workflow: Workflow,
    /// The tasks' names, in the same order; empty for a task without one.
    pub names: Vec<String>,
}

/// Why a simplified workflow cannot be prepared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimplifiedError {
    /// The place and what is wrong there.
    #[error("{path}{}: {reason}", if task.is_empty() { String::new() } else { format!(" (task `{}`)", shorten(task)) })]
    At {
        /// Where, such as `tasks[1].run.input.args[0]`.
        path: String,
        /// The task's name, empty for none.
        task: String,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// The tasks do not form a workflow.
    #[error(transparent)]
    Workflow(#[from] WorkflowError),
}

/// Prepares a workflow in either form: a full one passes as it came, a simplified one gets CIDs for names.
///
/// # Errors
/// The first mistake, with its place.
pub fn prepare(
    document: &Value,
    functions: &dyn FunctionLookup,
    defaults: &Defaults,
) -> Result<Prepared, SimplifiedError> {
    let (drafts, mistakes) = drafts(document);
    if let Some(first) = mistakes.into_iter().next() {
        return Err(first);
    }
    let names = drafts.iter().map(|draft| draft.name.to_owned()).collect();
    let tasks = if drafts.iter().all(Draft::is_full) {
        drafts
            .into_iter()
            .map(|draft| draft.into_checked_task(functions))
            .collect::<Result<_, _>>()?
    } else {
        fill_in(drafts, functions, defaults)?
    };
    Ok(Prepared {
        workflow: Workflow { tasks },
        names,
    })
}

/// Prepares one task of a full workflow as [`prepare`] would: for whoever does not want all of them decoded at once. `None` if
/// only the whole document tells what it stands for: it does not say everything, or is encoded in another way than its task.
///
/// # Errors
/// The first mistake, with its place.
pub fn prepare_encoded(
    index: usize,
    encoded: EncodedTask<'_>,
    functions: &dyn FunctionLookup,
) -> Result<Option<Task>, SimplifiedError> {
    let bytes = encoded.bytes();
    let task: Value = decode("task", bytes, bytes.len())
        .map_err(|error| WorkflowError::Unreadable { task: index, error })?;
    let mut mistakes = Vec::new();
    let draft = Draft::read(index, &task, &mut mistakes);
    if let Some(first) = mistakes.into_iter().next() {
        return Err(first);
    }
    if !draft.is_full() {
        return Ok(None);
    }
    let task = draft.into_checked_task(functions)?;
    Ok((encode(&task) == bytes).then_some(task))
}

/// The tasks of a document as far as they can be read, and every mistake in how they are written.
fn drafts(document: &Value) -> (Vec<Draft<'_>>, Vec<SimplifiedError>) {
    let nowhere = Place {
        index: None,
        task: "",
    };
    let mut mistakes = Vec::new();
    let top = fields(document, WORKFLOW, nowhere, "", &mut mistakes);
    let tasks = match top.map(|top| top.get("tasks")) {
        Some(Some(Ipld::List(tasks))) => tasks.as_slice(),
        Some(_) => {
            // An unknown key may be this one, misspelt.
            if mistakes.is_empty() {
                mistakes.push(nowhere.error("workflow", "`tasks` must be a list of tasks"));
            }
            &[]
        }
        None => &[],
    };
    if mistakes.is_empty()
        && let Err(error) = Workflow::check_count(tasks.len())
    {
        mistakes.push(error.into());
        return (Vec::new(), mistakes);
    }
    let tasks = tasks.iter().enumerate();
    let drafts = tasks
        .map(|(index, task)| Draft::read(index, task, &mut mistakes))
        .collect();
    (drafts, mistakes)
}

/// A task as it was written, in either form.
struct Draft<'a> {
    index: usize,
    name: &'a str,
    /// It may have another name than this, which a mistake hides.
    has_hidden_name: bool,
    /// Component, function and arguments are what was meant: no mistake is in how they are written.
    is_call: bool,
    rsc: Option<&'a str>,
    op: Option<&'a str>,
    func: &'a str,
    args: &'a [Value],
    files: Option<&'a Files>,
    effects: Effects,
    nnc: Option<Nonce>,
    cause: Option<Cid>,
    meta: Option<&'a BTreeMap<String, Value>>,
    prf: Vec<Cid>,
}

impl<'a> Draft<'a> {
    /// What is known of a task that cannot be read.
    const fn unread(index: usize, name: &'a str, has_hidden_name: bool) -> Self {
        Self {
            index,
            name,
            has_hidden_name,
            is_call: false,
            rsc: None,
            op: None,
            func: "",
            args: &[],
            files: None,
            effects: Effects::new(),
            nnc: None,
            cause: None,
            meta: None,
            prf: Vec::new(),
        }
    }

    /// Reads a task as far as it goes, and notes every mistake.
    fn read(index: usize, task: &'a Value, mistakes: &mut Vec<SimplifiedError>) -> Self {
        let before = mistakes.len();
        let nameless = Place {
            index: Some(index),
            task: "",
        };
        let Some(task) = fields(task, TASK, nameless, "", mistakes) else {
            return Self::unread(index, "", true);
        };
        let Some(run) = task.get("run") else {
            // An unknown key may be this one, misspelt.
            if mistakes.len() == before {
                mistakes.push(nameless.error("", "`run` is missing: it says what to do"));
            }
            return Self::unread(index, "", true);
        };
        // The name first: the other mistakes are told with it.
        let name = match run {
            Ipld::Map(run) => match run.get("name") {
                None | Some(Ipld::Null) => "",
                Some(Ipld::String(name)) if (1..=NAME_BYTES_MAX).contains(&name.len()) => name,
                Some(_) => {
                    let reason = format!("a name is a string of 1 to {NAME_BYTES_MAX} bytes");
                    mistakes.push(nameless.error("run.name", reason));
                    ""
                }
            },
            _ => "",
        };
        let place = Place {
            index: Some(index),
            task: name,
        };
        let mut has_hidden_name = mistakes.len() > before && name.is_empty();
        let before_run = mistakes.len();
        let Some(run) = fields(run, RUN, nameless, "run", mistakes) else {
            return Self::unread(index, "", true);
        };
        let run_is_known = mistakes.len() == before_run;
        has_hidden_name |= !run_is_known && name.is_empty();
        let before_call = mistakes.len();
        let mut note = |path: &str, reason: &str| mistakes.push(place.error(path, reason));

        let mut text = |key: &str| match run.get(key) {
            None => None,
            Some(Ipld::String(text)) => Some(text.as_str()),
            Some(_) => {
                note(&format!("run.{key}"), "must be a string");
                None
            }
        };
        let (rsc, op) = (text("rsc"), text("op"));
        let is_named = mistakes.len() == before_call;
        let mut note = |path: &str, reason: &str| mistakes.push(place.error(path, reason));
        let nnc = run.get("nnc").and_then(|nnc| {
            Nonce::of_value(nnc)
                .map_err(|reason| note("run.nnc", reason))
                .ok()
        });
        let meta = match task.get("meta") {
            None | Some(Ipld::Null) => None,
            Some(Ipld::Map(meta)) => Some(meta),
            Some(_) => {
                let usage = "must be a map, such as {\"memory\": 4294967296, \"time\": 100000}";
                note("meta", usage);
                None
            }
        };
        let mut link = |path: &str, value: &Value| match value {
            Ipld::Link(link) => Cid::try_from(*link)
                .map_err(|error| note(path, &error.to_string()))
                .ok(),
            _ => {
                note(path, "must be a link: {\"/\": \"bafy…\"}");
                None
            }
        };
        let cause = match task.get("cause") {
            None | Some(Ipld::Null) => None,
            Some(value) => link("cause", value),
        };
        let prf = match task.get("prf") {
            None | Some(Ipld::Null) => Vec::new(),
            Some(Ipld::List(links)) => {
                let links = links.iter().enumerate();
                links
                    .filter_map(|(index, value)| link(&format!("prf[{index}]"), value))
                    .collect()
            }
            Some(_) => {
                note("prf", "must be a list of links");
                Vec::new()
            }
        };
        let (func, args, files, effects) = match run.get("input") {
            None if run_is_known => {
                note("run", "`input` is missing: it names function and arguments");
                (None, None, None, Effects::new())
            }
            None => (None, None, None, Effects::new()),
            Some(input) => Self::read_input(input, place, mistakes),
        };
        // Another spelling of a key may be the component's, or the operation's.
        let is_call = is_named && run_is_known && func.is_some() && args.is_some();
        let (func, args) = (func.unwrap_or_default(), args.unwrap_or_default());
        Self {
            index,
            name,
            has_hidden_name,
            is_call,
            rsc,
            op,
            func,
            args,
            files,
            effects,
            nnc,
            cause,
            meta,
            prf,
        }
    }

    /// Function, arguments, files and effects, each if it is what was meant.
    fn read_input(
        input: &'a Value,
        place: Place<'_>,
        mistakes: &mut Vec<SimplifiedError>,
    ) -> (
        Option<&'a str>,
        Option<&'a [Value]>,
        Option<&'a Files>,
        Effects,
    ) {
        let before = mistakes.len();
        let Some(input) = fields(input, INPUT, place, "run.input", mistakes) else {
            return (None, None, None, Effects::new());
        };
        let is_known = mistakes.len() == before;
        let func = match input.get("func") {
            Some(Ipld::String(func)) => Some(func.as_str()),
            // An unknown key may be this one, misspelt.
            None if !is_known => None,
            _ => {
                let reason = "the name of a function is wanted, a string";
                mistakes.push(place.error("run.input.func", reason));
                None
            }
        };
        let args: Option<&[Value]> = match input.get("args") {
            None => is_known.then_some(&[]),
            Some(Ipld::List(args)) => Some(args),
            Some(_) => {
                let reason = "must be a list, in the order of the parameters";
                mistakes.push(place.error("run.input.args", reason));
                None
            }
        };
        let files = match input.get("files") {
            None => None,
            Some(Ipld::Map(files)) if files.is_empty() => {
                mistakes.push(place.error("run.input.files", files::EMPTY));
                None
            }
            Some(Ipld::Map(files)) => Some(files),
            Some(_) => {
                let reason =
                    "must be a map of paths, such as {\"data/in.csv\": {\"/\": \"bafk…\"}}";
                mistakes.push(place.error("run.input.files", reason));
                None
            }
        };
        let effects = match input.get("effects").map(effects_of) {
            None => Effects::new(),
            Some(Ok(effects)) => effects,
            Some(Err(reason)) => {
                mistakes.push(place.error("run.input.effects", reason));
                Effects::new()
            }
        };
        (func, args, files, effects)
    }

    /// The files by their paths.
    fn files(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.files.into_iter().flatten()
    }

    /// What may have placeholders in it, each with its place.
    fn values(&self) -> impl Iterator<Item = (String, &'a Value)> + use<'a> {
        let args = self.args.iter().enumerate();
        let args = args.map(|(index, arg)| (format!("run.input.args[{index}]"), arg));
        let files = self.files();
        let files = files.map(|(path, file)| {
            let place = format!("run.input.files.{}", files::shown(path));
            (place, file)
        });
        args.chain(files)
    }

    /// Where it says what it waits for.
    fn place_of_needs(&self) -> &'static str {
        if self.files.is_some() {
            "run.input"
        } else {
            "run.input.args"
        }
    }

    /// The component that it names itself.
    fn named_component(&self) -> Option<Cid> {
        let cid = self.rsc?.strip_prefix("ipfs://")?.parse::<Cid>().ok()?;
        cid.is_blob().then_some(cid)
    }

    /// Refuses files for a component that cannot look at them.
    fn check_reader(
        &self,
        component: Option<Cid>,
        functions: &dyn FunctionLookup,
    ) -> Result<(), SimplifiedError> {
        let in_vain =
            self.files.is_some() && component.is_some_and(|cid| !functions.reads_files(cid));
        if !in_vain {
            return Ok(());
        }
        Err(self.place().error(
            "run.input.files",
            format!(
                "the component of `{}` imports no file system (wasi:filesystem), so it would never see them: \
                 leave `files` out, and hand over the bytes as an argument",
                shorten(self.func)
            ),
        ))
    }

    /// Refuses effects that the component cannot have.
    fn check_effects(
        &self,
        component: Option<Cid>,
        functions: &dyn FunctionLookup,
    ) -> Result<(), SimplifiedError> {
        let Some(component) = component else {
            return Ok(());
        };
        let without = |name: &&String| !functions.has_effect(component, name);
        let idle = self.effects.iter().filter(without);
        let Some((name, means)) = idle
            .filter_map(|name| Some((name, effects::means(name)?)))
            .next()
        else {
            return Ok(());
        };
        Err(self.place().error(
            "run.input.effects",
            format!(
                "the component of `{}` does not import {means}, so it never has the effect `{name}`: leave it out",
                shorten(self.func),
            ),
        ))
    }

    /// Its own nonce where it says none and the default is none, if it has effects: what is equal in two submissions is
    /// then still done in each, and what is equal in two places of one, in both.
    fn distinguish(&mut self, default: &Nonce, seed: &[u8; 12]) {
        let is_silent = match &self.nnc {
            None => *default == Nonce::Empty,
            Some(nnc) => *nnc == Nonce::Empty,
        };
        if is_silent && !self.effects.is_empty() {
            let place = (self.index as u32).to_be_bytes();
            self.nnc = Some(Nonce::Bytes([&seed[..], &place].concat()));
        }
    }

    fn place(&self) -> Place<'a> {
        Place {
            index: Some(self.index),
            task: self.name,
        }
    }

    /// Does it say all that its instruction's CID depends on, in the words of the content model alone?
    fn is_full(&self) -> bool {
        let whole =
            self.rsc.is_some() && self.op.is_some() && self.nnc.is_some() && self.name.is_empty();
        let plain = |text: &str| {
            if mentions_placeholder(text) {
                Err(String::new())
            } else {
                Ok(())
            }
        };
        whole
            && self
                .values()
                .all(|(_, value)| visit_strings(value, &mut |text| plain(text)).is_ok())
    }

    /// The task of a full workflow: its instruction to the letter, where its component can have what it asks for.
    fn into_checked_task(self, functions: &dyn FunctionLookup) -> Result<Task, SimplifiedError> {
        self.check_reader(self.named_component(), functions)?;
        self.check_effects(self.named_component(), functions)?;
        self.into_task_as_it_came()
    }

    /// The task of a full workflow: its instruction to the letter.
    fn into_task_as_it_came(self) -> Result<Task, SimplifiedError> {
        let meta = self.meta.cloned().map_or_else(|| self.filled_meta(), Ok)?;
        let rsc = self.rsc.unwrap_or_default().to_owned();
        let func = self.func.to_owned();
        let input = Input {
            func,
            args: self.args.to_vec(),
            files: self.files.cloned().unwrap_or_default(),
            effects: self.effects.clone(),
        };
        self.finish(rsc, input, Nonce::Empty, meta)
    }

    /// Keys of its `meta` that mean nothing: a limit that is misspelt would limit nothing. In a full workflow they may mean
    /// something to others, and stay.
    fn odd_meta(&self) -> Vec<SimplifiedError> {
        let mut mistakes = Vec::new();
        if let Some(meta) = self.meta {
            note_unknown(meta, META, self.place(), "meta", &mut mistakes);
        }
        mistakes
    }

    /// Its `meta`, with the defaults of what it does not say.
    fn filled_meta(&self) -> Result<BTreeMap<String, Value>, SimplifiedError> {
        let mut meta = self.meta.cloned().unwrap_or_default();
        for (key, default) in [("memory", MEMORY_BYTES_DEFAULT), ("time", TIME_MS_DEFAULT)] {
            meta.entry(key.to_owned())
                .or_insert(Ipld::Integer(default.into()));
        }
        let number = |value: &Value| matches!(value, Ipld::Integer(n) if u64::try_from(*n).is_ok());
        match ["memory", "time", "fuel"]
            .into_iter()
            .find(|key| meta.get(*key).is_some_and(|value| !number(value)))
        {
            Some(key) => Err(self.place().error(
                &format!("meta.{key}"),
                format!("must be a whole number from 0 to {}", u64::MAX),
            )),
            None => Ok(meta),
        }
    }

    fn finish(
        self,
        rsc: String,
        input: Input,
        nnc: Nonce,
        meta: BTreeMap<String, Value>,
    ) -> Result<Task, SimplifiedError> {
        let place = self.place();
        let op = self.op.unwrap_or(OP_WASM_RUN);
        if op != OP_WASM_RUN {
            return Err(place.error(
                "run.op",
                format!("`{}` is not known, `{OP_WASM_RUN}` is", shorten(op)),
            ));
        }
        let run = Instruction {
            rsc,
            op: op.to_owned(),
            input,
            nnc: self.nnc.unwrap_or(nnc),
        };
        let task = Task {
            run,
            cause: self.cause,
            meta: Meta(meta),
            prf: self.prf,
        };
        match check_task(&task) {
            Ok(()) => Ok(task),
            Err(Error::Value { path, reason }) => Err(place.error(&path, reason)),
            Err(error) => Err(place.error("run.rsc", error.to_string())),
        }
    }
}

/// Makes tasks of drafts: names become promises, functions find their components, arguments their canonical form.
fn fill_in(
    drafts: Vec<Draft<'_>>,
    functions: &dyn FunctionLookup,
    defaults: &Defaults,
) -> Result<Vec<Task>, SimplifiedError> {
    let mut places: BTreeMap<&str, u32> = BTreeMap::new();
    for draft in drafts.iter().filter(|draft| !draft.name.is_empty()) {
        if let Some(other) = places.insert(draft.name, draft.index as u32) {
            return Err(draft.place().error(
                "run.name",
                format!("tasks[{other}] has the same name: give each its own"),
            ));
        }
    }
    let needs = drafts
        .iter()
        .map(|draft| needs_of(draft, &places))
        .collect::<Result<Vec<_>, _>>()?;
    let order = topological_order(&needs).map_err(|circle| {
        let names = circle.iter().map(|place| drafts[*place].name);
        let first = &drafts[circle[0]];
        first.place().error(
            first.place_of_needs(),
            format!("tasks wait for each other in a circle: {}", Circle(names)),
        )
    })?;
    let nonce = match &defaults.nonce {
        Some(nonce) => Nonce::of_value(&Ipld::String(nonce.clone())).map_err(|reason| {
            Place {
                index: None,
                task: "",
            }
            .error("default nonce", reason)
        })?,
        None => Nonce::Empty,
    };
    let found = drafts
        .iter()
        .map(|draft| find(draft, functions))
        .collect::<Result<Vec<_>, _>>()?;

    let mut work: Vec<_> = drafts.into_iter().zip(found).map(Some).collect();
    let mut tasks: Vec<Option<Task>> = work.iter().map(|_| None).collect();
    let mut instructions: Vec<Option<Cid>> = vec![None; work.len()];
    for index in order.into_iter().map(|index| index as usize) {
        let (mut draft, (component, func)) =
            work[index].take().expect("an order names each place once");
        let place = draft.place();
        let mut substitute = |text: &str| match Placeholder::read(text)? {
            None => Ok(Ipld::String(text.to_owned())),
            Some(Placeholder::Link(cid)) => Ok(Ipld::Link(cid.to_link())),
            Some(Placeholder::Needs { name, branch }) => {
                let instruction = places
                    .get(name)
                    .and_then(|place| instructions[*place as usize]);
                let instruction = instruction
                    .expect("names were looked up, and what is needed comes first in the order");
                Ok(Promise {
                    branch,
                    instruction,
                }
                .to_value())
            }
        };
        let args = draft
            .args
            .iter()
            .map(|arg| map_strings(arg, &mut substitute))
            .collect::<Result<_, String>>();
        let args = args.map_err(|reason| place.error("run.input.args", reason))?;
        let args = functions
            .canonical(component, &func, args)
            .map_err(|error| place.argument(&error))?;
        draft.check_reader(Some(component), functions)?;
        draft.check_effects(Some(component), functions)?;
        draft.distinguish(&nonce, &defaults.seed);
        let files = draft.files().map(|(path, file)| {
            let file = map_strings(file, &mut substitute)
                .map_err(|reason| place.error("run.input.files", reason))?;
            Ok((path.clone(), file))
        });
        let files = files.collect::<Result<Files, SimplifiedError>>()?;
        if let Some(odd) = draft.odd_meta().into_iter().next() {
            return Err(odd);
        }
        let meta = draft.filled_meta()?;
        let rsc = format!("ipfs://{component}");
        let input = Input {
            func,
            args,
            files,
            effects: draft.effects.clone(),
        };
        let task = draft.finish(rsc, input, nonce.clone(), meta)?;
        instructions[index] = Some(task.run.cid());
        tasks[index] = Some(task);
    }
    Ok(tasks.into_iter().flatten().collect())
}

/// The places that a draft's placeholders name, ascending, each once.
fn needs_of(draft: &Draft<'_>, places: &BTreeMap<&str, u32>) -> Result<Vec<u32>, SimplifiedError> {
    let mut needs = Vec::new();
    for (place, value) in draft.values() {
        let mut note = |text: &str| {
            if let Some(Placeholder::Needs { name, .. }) = Placeholder::read(text)? {
                let place = places
                    .get(name)
                    .ok_or_else(|| mistakes::no_such_task(name, places))?;
                needs.push(*place);
            }
            Ok(())
        };
        visit_strings(value, &mut note)
            .map_err(|(path, reason)| draft.place().error(&format!("{place}{path}"), reason))?;
    }
    needs.sort_unstable();
    needs.dedup();
    Ok(needs)
}

/// The component and the function's own spelling.
fn find(
    draft: &Draft<'_>,
    functions: &dyn FunctionLookup,
) -> Result<(Cid, String), SimplifiedError> {
    let rsc = match draft.rsc {
        None => None,
        Some(rsc) => match draft.named_component() {
            Some(cid) => Some(cid),
            None => {
                return Err(draft
                    .place()
                    .error("run.rsc", Error::Resource(shorten(rsc)).to_string()));
            }
        },
    };
    functions
        .find(draft.func, rsc)
        .map_err(|reason| draft.place().error("run.input.func", reason))
}

/// The names in a list of effects.
fn effects_of(value: &Value) -> Result<Effects, &'static str> {
    let usage = "must be a list of names, each once and in order, such as [\"wasi:http\"]";
    let Ipld::List(items) = value else {
        return Err(usage);
    };
    let names = items.iter().map(|item| match item {
        Ipld::String(name) => Ok(name),
        _ => Err(usage),
    });
    let names = names.collect::<Result<Vec<_>, _>>()?;
    if names.is_empty() {
        return Err(effects::EMPTY);
    }
    if !names.is_sorted_by(|one, next| one < next) {
        return Err(usage);
    }
    Ok(names.into_iter().cloned().collect())
}

/// A string that stands for something else.
enum Placeholder<'a> {
    Needs { name: &'a str, branch: Await },
    Link(Cid),
}

impl<'a> Placeholder<'a> {
    /// `None` for a string that is itself; an error for a placeholder that cannot be one.
    fn read(text: &'a str) -> Result<Option<Self>, String> {
        if !mentions_placeholder(text) {
            return check_literal(text).map(|()| None);
        }
        let inner = text
            .strip_prefix("{{")
            .and_then(|text| text.strip_suffix("}}"));
        let inner = inner.filter(|inner| !inner.contains("{{") && !inner.contains("}}")).ok_or_else(|| {
            format!(
                "`{}` has a placeholder inside a longer string: what a task will come to cannot be written into a text, \
                 so a placeholder must be the whole string",
                shorten(text)
            )
        })?;
        let inner = inner.trim();
        if let Some(cid) = inner.strip_prefix("cid:") {
            return cid
                .trim()
                .parse()
                .map(|cid| Some(Self::Link(cid)))
                .map_err(|error: Error| error.to_string());
        }
        let usage = || not_a_placeholder(text);
        let (name, branch) = inner
            .strip_prefix("needs.")
            .and_then(|inner| inner.rsplit_once('.'))
            .ok_or_else(usage)?;
        let branch = match branch {
            "output" => Await::Ok,
            "error" => Await::Error,
            "result" => Await::Any,
            _ => return Err(usage()),
        };
        Ok(Some(Self::Needs { name, branch }))
    }
}

/// Other double braces are a text's own business (templates are data too), unless [`check_literal`] knows better.
fn mentions_placeholder(text: &str) -> bool {
    mentions(text, &["needs.", "cid:"])
}

/// Do double braces open before one of these?
fn mentions(text: &str, beginnings: &[&str]) -> bool {
    // Each part is looked at once: a text may be a million braces.
    text.split("{{").skip(1).any(|behind| {
        let inner = behind.trim_start_matches('{').trim_start();
        beginnings.iter().any(|begins| inner.starts_with(begins))
    })
}

/// Refuses a string without a placeholder that was meant to have one: a guest would get the braces as its argument, and
/// nobody would see why.
fn check_literal(text: &str) -> Result<(), String> {
    if mentions(text, &["args."]) {
        return Err(format!(
            "`{}` has no value: {{{{args.<name>}}}} is filled in by `asterism run --arg <name>=VALUE`, before a workflow is \
             submitted; whoever submits it another way writes the value here",
            shorten(text)
        ));
    }
    if is_misspelt_placeholder(text) {
        return Err(not_a_placeholder(text));
    }
    Ok(())
}

/// Is it nothing but a pair of double braces, and like a placeholder inside: its first word is nearly one of those, what
/// follows is a CID, or it ends as what a task comes to does?
fn is_misspelt_placeholder(text: &str) -> bool {
    let inner = text
        .strip_prefix("{{")
        .and_then(|text| text.strip_suffix("}}"))
        .map(str::trim)
        .filter(|inner| !inner.contains("{{") && !inner.contains("}}"));
    let Some((first, rest)) = inner.and_then(|inner| inner.split_once(['.', ':'])) else {
        return false;
    };
    let (first, rest) = (first.trim().to_lowercase(), rest.trim());
    let has_branch = || {
        let (name, branch) = rest.rsplit_once('.').unwrap_or_default();
        !name.is_empty() && matches!(branch, "output" | "error" | "result")
    };
    let is_near = || nearest(&first, ["needs", "args"].into_iter()).is_some();
    rest.parse::<Cid>().is_ok() || !rest.is_empty() && (is_near() || has_branch())
}

/// Why a text cannot be a placeholder, and which there are.
fn not_a_placeholder(text: &str) -> String {
    format!(
        "`{}` is not a placeholder: write {{{{needs.<name>.output}}}}, {{{{needs.<name>.error}}}} or {{{{needs.<name>.result}}}} for \
         what a task comes to, {{{{cid:<CID>}}}} for a blob, or {{{{args.<name>}}}} for what `asterism run --arg` gives",
        shorten(text)
    )
}

/// Shows every string of a value to `see`; an error comes back with its place inside the value.
fn visit_strings(
    value: &Value,
    see: &mut dyn FnMut(&str) -> Result<(), String>,
) -> Result<(), (String, String)> {
    let inside =
        |step: String| move |(path, reason): (String, String)| (format!("{step}{path}"), reason);
    match value {
        Ipld::String(text) => see(text).map_err(|reason| (String::new(), reason)),
        Ipld::List(items) => {
            let mut items = items.iter().enumerate();
            items.try_for_each(|(index, item)| {
                visit_strings(item, see).map_err(inside(format!("[{index}]")))
            })
        }
        Ipld::Map(map) => map.iter().try_for_each(|(key, item)| {
            if mentions_placeholder(key) {
                return Err((
                    format!(".{}", shorten(key)),
                    "a placeholder cannot be a key".to_owned(),
                ));
            }
            visit_strings(item, see).map_err(inside(format!(".{}", shorten(key))))
        }),
        _ => Ok(()),
    }
}

/// The value with every string replaced by what `change` makes of it.
fn map_strings(
    value: &Value,
    change: &mut dyn FnMut(&str) -> Result<Value, String>,
) -> Result<Value, String> {
    Ok(match value {
        Ipld::String(text) => change(text)?,
        Ipld::List(items) => Ipld::List(
            items
                .iter()
                .map(|item| map_strings(item, change))
                .collect::<Result<_, _>>()?,
        ),
        Ipld::Map(map) => {
            let entries = map
                .iter()
                .map(|(key, item)| Ok((key.clone(), map_strings(item, change)?)));
            Ipld::Map(entries.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

/// The entries of a map that may have these keys and no others; every other one is noted.
fn fields<'a>(
    value: &'a Value,
    known: &[&str],
    place: Place<'_>,
    path: &str,
    mistakes: &mut Vec<SimplifiedError>,
) -> Option<&'a BTreeMap<String, Value>> {
    let Ipld::Map(map) = value else {
        let path = if place.index.is_none() {
            "workflow"
        } else {
            path
        };
        mistakes.push(place.error(path, format!("must be a map of {}", listed(known))));
        return None;
    };
    note_unknown(map, known, place, path, mistakes);
    Some(map)
}

/// Notes every key of a map that is none of these.
fn note_unknown(
    map: &BTreeMap<String, Value>,
    known: &[&str],
    place: Place<'_>,
    path: &str,
    mistakes: &mut Vec<SimplifiedError>,
) {
    for unknown in map.keys().filter(|key| !known.contains(&key.as_str())) {
        let dot = if path.is_empty() { "" } else { "." };
        let reason = if let Some(right) = grammar::place_of(unknown) {
            format!("not known here: it stands {right}")
        } else if let Some(meant) = nearest(unknown, known.iter().copied()) {
            format!("not known here, did you mean `{meant}`?")
        } else {
            format!("not known here: {} are", listed(known))
        };
        mistakes.push(place.error(&format!("{path}{dot}{}", shorten(unknown)), reason));
    }
}

fn listed(keys: &[&str]) -> String {
    let quoted: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
    quoted.join(", ")
}

/// Where a mistake is.
#[derive(Clone, Copy)]
struct Place<'a> {
    index: Option<usize>,
    task: &'a str,
}

impl Place<'_> {
    /// What a lookup says of an argument: it names the argument, the place of the task is known here.
    fn argument(self, error: &str) -> SimplifiedError {
        match error
            .split_once(": ")
            .filter(|(path, _)| path.starts_with("args"))
        {
            Some((path, reason)) => self.error(&format!("run.input.{path}"), reason),
            None => self.error("run.input.args", error),
        }
    }

    fn error(self, path: &str, reason: impl Into<String>) -> SimplifiedError {
        let path = match self.index {
            Some(index) if path.is_empty() => format!("tasks[{index}]"),
            Some(index) => format!("tasks[{index}].{path}"),
            None => path.to_owned(),
        };
        SimplifiedError::At {
            path,
            task: self.task.to_owned(),
            reason: reason.into(),
        }
    }
}

/// The known word that differs least, if it differs little. Only short words and the first thousand: this
/// is a courtesy in an error text, not worth a stranger's million comparisons.
#[must_use]
pub fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const BYTES: usize = 64;
    const WORDS: usize = 1_000;
    let near = |word: &&str| word.len() <= BYTES && wanted.len() <= BYTES;
    let distances = known
        .take(WORDS)
        .filter(near)
        .map(|word| (edits(wanted, word), word));
    distances
        .filter(|(distance, word)| *distance * 3 <= word.len().max(3))
        .min()
        .map(|(_, word)| word)
}

/// Letters to insert, remove or replace to get from one word to the other (Levenshtein's distance).
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (line, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, b) in to.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[row.len() - 1]
}
