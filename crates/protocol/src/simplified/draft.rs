//! A task as it was written.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;

use super::{
    FunctionLookup, SimplifiedError,
    grammar::{self, INPUT, META, RUN, TASK, WORKFLOW},
    place::{Place, fields, note_unknown},
    placeholder::{mentions_placeholder, visit_strings},
};
use crate::{
    Cid, Effects, Error, Files, Input, Instruction, Meta, Nonce, Requirements, Task, Value,
    Workflow, effects, files,
    instruction::OP_WASM_RUN,
    limits::{MEMORY_BYTES_DEFAULT, NAME_BYTES_MAX, TIME_MS_DEFAULT},
    workflow::{check_task, shorten},
};

/// The tasks of a document as far as they can be read, and every mistake in how they are written.
pub(super) fn drafts(document: &Value) -> (Vec<Draft<'_>>, Vec<SimplifiedError>) {
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
#[derive(Clone)]
pub(super) struct Draft<'a> {
    pub(super) index: usize,
    pub(super) name: &'a str,
    /// It may have another name than this, which a mistake hides.
    pub(super) has_hidden_name: bool,
    /// Component, function and arguments are what was meant: no mistake is in how they are written.
    pub(super) is_call: bool,
    pub(super) rsc: Option<&'a str>,
    pub(super) op: Option<&'a str>,
    pub(super) func: &'a str,
    pub(super) args: &'a [Value],
    pub(super) files: Option<&'a Files>,
    pub(super) effects: Effects,
    pub(super) nnc: Option<Nonce>,
    pub(super) cause: Option<Cid>,
    pub(super) meta: Option<&'a BTreeMap<String, Value>>,
    pub(super) prf: Vec<Cid>,
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
    pub(super) fn read(index: usize, task: &'a Value, mistakes: &mut Vec<SimplifiedError>) -> Self {
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
        let Some(run) = fields(run, RUN, nameless, "run", mistakes) else {
            return Self::unread(index, "", true);
        };
        has_hidden_name |= grammar::may_be_misspelt("name", run);
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
            None => {
                if !grammar::may_be_misspelt("input", run) {
                    note("run", "`input` is missing: it names function and arguments");
                }
                (None, None, None, Effects::new())
            }
            Some(input) => Self::read_input(input, place, mistakes),
        };
        let names_another = ["rsc", "op"].map(|key| grammar::may_be_misspelt(key, run));
        let is_call = is_named && names_another == [false; 2] && func.is_some() && args.is_some();
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
    pub(super) fn files(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.files.into_iter().flatten()
    }

    /// What may have placeholders in it, each with its place.
    pub(super) fn values(&self) -> impl Iterator<Item = (String, &'a Value)> + use<'a> {
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
    pub(super) fn place_of_needs(&self) -> &'static str {
        if self.files.is_some() {
            "run.input"
        } else {
            "run.input.args"
        }
    }

    /// The component that it names itself.
    pub(super) fn named_component(&self) -> Option<Cid> {
        let cid = self.rsc?.strip_prefix("ipfs://")?.parse::<Cid>().ok()?;
        cid.is_blob().then_some(cid)
    }

    /// Refuses files for a component that cannot look at them.
    pub(super) fn check_reader(
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
    pub(super) fn check_effects(
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
    pub(super) fn distinguish(&mut self, default: &Nonce, seed: &[u8; 12]) {
        let is_silent = match &self.nnc {
            None => *default == Nonce::Empty,
            Some(nnc) => *nnc == Nonce::Empty,
        };
        if is_silent && !self.effects.is_empty() {
            let place = (self.index as u32).to_be_bytes();
            self.nnc = Some(Nonce::Bytes([&seed[..], &place].concat()));
        }
    }

    pub(super) fn place(&self) -> Place<'a> {
        Place {
            index: Some(self.index),
            task: self.name,
        }
    }

    /// Does it say all that its instruction's CID depends on, in the words of the content model alone?
    pub(super) fn is_full(&self) -> bool {
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
    pub(super) fn into_checked_task(
        self,
        functions: &dyn FunctionLookup,
    ) -> Result<Task, SimplifiedError> {
        self.check_reader(self.named_component(), functions)?;
        self.check_effects(self.named_component(), functions)?;
        self.into_task_as_it_came()
    }

    /// The task of a full workflow: its instruction to the letter.
    pub(super) fn into_task_as_it_came(self) -> Result<Task, SimplifiedError> {
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
    pub(super) fn odd_meta(&self) -> Vec<SimplifiedError> {
        let mut mistakes = Vec::new();
        if let Some(meta) = self.meta {
            note_unknown(meta, META, self.place(), "meta", &mut mistakes);
        }
        mistakes
    }

    /// Its `meta`, with the defaults of what it does not say.
    pub(super) fn filled_meta(&self) -> Result<BTreeMap<String, Value>, SimplifiedError> {
        let mut meta = self.meta.cloned().unwrap_or_default();
        for (key, default) in [("memory", MEMORY_BYTES_DEFAULT), ("time", TIME_MS_DEFAULT)] {
            meta.entry(key.to_owned())
                .or_insert(Ipld::Integer(default.into()));
        }
        match self.odd_limits().into_iter().next() {
            Some(odd) => Err(odd),
            None => Ok(meta),
        }
    }

    /// The limits in its `meta` that are none.
    pub(super) fn odd_limits(&self) -> Vec<SimplifiedError> {
        let number = |value: &Value| matches!(value, Ipld::Integer(n) if u64::try_from(*n).is_ok());
        let is_odd = |key: &&str| {
            let value = self.meta.and_then(|meta| meta.get(*key));
            value.is_some_and(|value| !number(value))
        };
        let odd = ["memory", "time", "fuel"].into_iter().filter(is_odd);
        let reason = format!("must be a whole number from 0 to {}", u64::MAX);
        odd.map(|key| self.place().error(&format!("meta.{key}"), reason.clone()))
            .collect()
    }

    /// What it requires of executors and means nothing.
    pub(super) fn odd_requirements(&self) -> Vec<SimplifiedError> {
        let Some(meta) = self.meta else {
            return Vec::new();
        };
        let (_, odd) = Requirements::read(meta, &self.effects);
        let odd = odd.into_iter().map(|error| match error {
            Error::Value { path, reason } => self.place().error(&path, reason),
            error => self.place().error("meta", error.to_string()),
        });
        odd.collect()
    }

    pub(super) fn finish(
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
