//! jco in node: another implementation of the Component Model, by others. It knows no fuel, so only values are compared.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use asterism_component::{Function, Type, Val, out_of_val};
use asterism_protocol::{Cid, Out, blob_cid};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value as Json, json};

/// A node process with jco in it.
pub struct Jco {
    program: PathBuf,
    module: PathBuf,
    process: Option<Process>,
    /// Components that jco does not take, and why: trying one again would break it again.
    refused: BTreeMap<Cid, String>,
    /// Components, where node finds them.
    folder: tempfile::TempDir,
}

struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// It returned this.
    Out(Out),
    /// It did not return.
    Trap(String),
    /// jco does not know this component or these types.
    Unsupported(String),
}

impl Jco {
    /// jco from this module (`@bytecodealliance/jco-transpile`) in this node, both of which `cargo xtask conformance` installs.
    ///
    /// # Errors
    /// node does not start.
    pub fn start(program: &Path, module: &Path) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self {
            process: Some(Process::start(program, module, folder.path())?),
            program: program.to_owned(),
            module: module.to_owned(),
            refused: BTreeMap::new(),
            folder,
        })
    }

    /// Calls a function in a fresh instance.
    ///
    /// # Errors
    /// node died, or jco gave what is no value of the type.
    pub fn perform(
        &mut self,
        component: &[u8],
        function: &Function,
        args: &[Val],
    ) -> io::Result<Seen> {
        let cid = blob_cid(component);
        if let Some(reason) = self.refused.get(&cid) {
            return Ok(Seen::Unsupported(reason.clone()));
        }
        let file = self.folder.path().join(cid.to_string());
        if !file.exists() {
            std::fs::write(&file, component)?;
        }
        let params = function.params.iter();
        let question = json!({
            "path": file,
            "func": function.name,
            "params": params.clone().map(|(_, ty)| type_json(ty)).collect::<Vec<_>>(),
            "result": function.result.as_ref().map(type_json),
            "args": params.zip(args).map(|((_, ty), val)| val_json(ty, val)).collect::<Vec<_>>(),
        });
        let process = match &mut self.process {
            Some(process) => process,
            None => self.process.insert(Process::start(
                &self.program,
                &self.module,
                self.folder.path(),
            )?),
        };
        let answer = process.ask(&question);
        if answer.is_err() {
            self.process = None;
        }
        let answer = answer?;
        let text = |key: &str| answer[key].as_str().map(ToOwned::to_owned);
        if let Some(reason) = text("unsupported") {
            // jco is wasm itself, and is of no use once that has trapped.
            self.process = None;
            self.refused.insert(cid, reason.clone());
            return Ok(Seen::Unsupported(reason));
        }
        if let Some(message) = text("trap") {
            return Ok(Seen::Trap(message));
        }
        let result = match &function.result {
            None => None,
            Some(ty) => Some(
                json_val(ty, &answer["value"])
                    .ok_or_else(|| io::Error::other(format!("{} is no {ty}", answer["value"])))?,
            ),
        };
        Ok(Seen::Out(out_of_val(function, result.as_ref())))
    }
}

impl Process {
    fn start(program: &Path, module: &Path, folder: &Path) -> io::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("performer/jco.mjs");
        let mut child = Command::new(program)
            .arg(script)
            .arg(module)
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What it says when it gives up is in its answer, too.
            .stderr(Stdio::null())
            .spawn()?;
        let piped = || io::Error::other("node has no pipes");
        Ok(Self {
            stdin: child.stdin.take().ok_or_else(piped)?,
            stdout: BufReader::new(child.stdout.take().ok_or_else(piped)?),
            child,
        })
    }

    fn ask(&mut self, question: &Json) -> io::Result<Json> {
        writeln!(self.stdin, "{question}")?;
        self.stdin.flush()?;
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err(io::Error::other("node died"));
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A type as `jco.mjs` reads it.
fn type_json(ty: &Type) -> Json {
    let maybe = |ty: &Option<Box<Type>>| ty.as_deref().map(type_json);
    match ty {
        Type::Bool
        | Type::S8
        | Type::U8
        | Type::S16
        | Type::U16
        | Type::S32
        | Type::U32
        | Type::S64
        | Type::U64
        | Type::F32
        | Type::F64
        | Type::Char
        | Type::String => json!({ "k": ty.to_string() }),
        Type::List(_) | Type::FixedList(..) if ty.is_bytes() => json!({ "k": "bytes" }),
        Type::List(element) | Type::FixedList(element, _) => {
            json!({ "k": "list", "t": type_json(element) })
        }
        Type::Map(key, item) => {
            json!({ "k": "map", "key": type_json(key), "t": type_json(item) })
        }
        Type::Record(fields) => {
            let fields = fields.iter().map(|(name, ty)| json!([name, type_json(ty)]));
            json!({ "k": "record", "f": fields.collect::<Vec<_>>() })
        }
        Type::Tuple(types) => {
            json!({ "k": "tuple", "t": types.iter().map(type_json).collect::<Vec<_>>() })
        }
        Type::Variant(cases) => {
            let case =
                |(name, ty): &(String, Option<Type>)| json!([name, ty.as_ref().map(type_json)]);
            json!({ "k": "variant", "c": cases.iter().map(case).collect::<Vec<_>>() })
        }
        Type::Enum(names) => json!({ "k": "enum", "n": names }),
        Type::Flags(names) => json!({ "k": "flags", "n": names }),
        Type::Option(inner) => json!({ "k": "option", "t": type_json(inner) }),
        Type::Result { ok, err } => json!({ "k": "result", "ok": maybe(ok), "err": maybe(err) }),
    }
}

/// A value as `jco.mjs` reads it: integers and bits of floats as decimal text, for JSON of JavaScript has only doubles.
fn val_json(ty: &Type, val: &Val) -> Json {
    let all = |ty: &Type, vals: &[Val]| -> Vec<Json> {
        vals.iter().map(|val| val_json(ty, val)).collect()
    };
    let payload = |ty: Option<&Type>, val: &Option<Box<Val>>| match (ty, val) {
        (Some(ty), Some(val)) => val_json(ty, val),
        _ => Json::Null,
    };
    match (ty, val) {
        (_, Val::Bool(bool)) => json!(bool),
        (_, Val::S8(n)) => json!(n.to_string()),
        (_, Val::U8(n)) => json!(n.to_string()),
        (_, Val::S16(n)) => json!(n.to_string()),
        (_, Val::U16(n)) => json!(n.to_string()),
        (_, Val::S32(n)) => json!(n.to_string()),
        (_, Val::U32(n)) => json!(n.to_string()),
        (_, Val::S64(n)) => json!(n.to_string()),
        (_, Val::U64(n)) => json!(n.to_string()),
        (_, Val::F32(x)) => json!(f64::from(*x).to_bits().to_string()),
        (_, Val::F64(x)) => json!(x.to_bits().to_string()),
        (_, Val::Char(char)) => json!(char),
        (_, Val::String(text)) => json!(text),
        (_, Val::Bytes(bytes)) => json!(STANDARD.encode(bytes)),
        (Type::List(element) | Type::FixedList(element, _), Val::List(items)) => {
            json!(all(element, items))
        }
        (Type::Map(key, item), Val::Map(pairs)) => {
            let pair = |(k, v): &(Val, Val)| json!([val_json(key, k), val_json(item, v)]);
            json!(pairs.iter().map(pair).collect::<Vec<_>>())
        }
        (Type::Record(fields), Val::Record(vals)) => {
            let field = |((_, ty), val): (&(String, Type), &Val)| val_json(ty, val);
            json!(fields.iter().zip(vals).map(field).collect::<Vec<_>>())
        }
        (Type::Tuple(types), Val::Tuple(vals)) => {
            let item = |(ty, val)| val_json(ty, val);
            json!(types.iter().zip(vals).map(item).collect::<Vec<_>>())
        }
        (Type::Variant(cases), Val::Variant(index, val)) => {
            let ty = cases.get(*index as usize).and_then(|(_, ty)| ty.as_ref());
            json!([index, payload(ty, val)])
        }
        (_, Val::Enum(index)) => json!(index),
        (_, Val::Flags(set)) => json!(set),
        (Type::Option(inner), Val::Option(val)) => match val {
            Some(val) => json!([val_json(inner, val)]),
            None => json!([]),
        },
        (Type::Result { ok, .. }, Val::Result(Ok(val))) => {
            json!(["ok", payload(ok.as_deref(), val)])
        }
        (Type::Result { err, .. }, Val::Result(Err(val))) => {
            json!(["err", payload(err.as_deref(), val)])
        }
        _ => Json::Null,
    }
}

/// A value as `jco.mjs` writes it.
fn json_val(ty: &Type, json: &Json) -> Option<Val> {
    let text = || json.as_str();
    let items = |ty: &Type| -> Option<Vec<Val>> {
        json.as_array()?
            .iter()
            .map(|item| json_val(ty, item))
            .collect()
    };
    let payload = |ty: Option<&Type>, json: Option<&Json>| match (ty, json) {
        (Some(ty), Some(json)) => json_val(ty, json).map(|val| Some(Box::new(val))),
        (None, None | Some(Json::Null)) => Some(None),
        _ => None,
    };
    Some(match ty {
        Type::Bool => Val::Bool(json.as_bool()?),
        Type::S8 => Val::S8(text()?.parse().ok()?),
        Type::U8 => Val::U8(text()?.parse().ok()?),
        Type::S16 => Val::S16(text()?.parse().ok()?),
        Type::U16 => Val::U16(text()?.parse().ok()?),
        Type::S32 => Val::S32(text()?.parse().ok()?),
        Type::U32 => Val::U32(text()?.parse().ok()?),
        Type::S64 => Val::S64(text()?.parse().ok()?),
        Type::U64 => Val::U64(text()?.parse().ok()?),
        Type::F32 => Val::F32(f64::from_bits(text()?.parse().ok()?) as f32),
        Type::F64 => Val::F64(f64::from_bits(text()?.parse().ok()?)),
        Type::Char => Val::Char(text()?.chars().next()?),
        Type::String => Val::String(text()?.to_owned()),
        Type::List(_) | Type::FixedList(..) if ty.is_bytes() => {
            Val::Bytes(STANDARD.decode(text()?).ok()?)
        }
        Type::List(element) | Type::FixedList(element, _) => Val::List(items(element)?),
        Type::Map(key, item) => {
            let pair =
                |pair: &Json| Some((json_val(key, pair.get(0)?)?, json_val(item, pair.get(1)?)?));
            Val::Map(json.as_array()?.iter().map(pair).collect::<Option<_>>()?)
        }
        Type::Record(fields) => {
            let field = |((_, ty), json): (&(String, Type), &Json)| json_val(ty, json);
            Val::Record(
                fields
                    .iter()
                    .zip(json.as_array()?)
                    .map(field)
                    .collect::<Option<_>>()?,
            )
        }
        Type::Tuple(types) => {
            let item = |(ty, json)| json_val(ty, json);
            Val::Tuple(
                types
                    .iter()
                    .zip(json.as_array()?)
                    .map(item)
                    .collect::<Option<_>>()?,
            )
        }
        Type::Variant(cases) => {
            let index = json.get(0)?.as_u64()?;
            let (_, ty) = cases.get(usize::try_from(index).ok()?)?;
            Val::Variant(
                u32::try_from(index).ok()?,
                payload(ty.as_ref(), json.get(1))?,
            )
        }
        Type::Enum(_) => Val::Enum(u32::try_from(json.as_u64()?).ok()?),
        Type::Flags(_) => Val::Flags(
            json.as_array()?
                .iter()
                .map(Json::as_bool)
                .collect::<Option<_>>()?,
        ),
        Type::Option(inner) => match &json.as_array()?[..] {
            [] => Val::Option(None),
            [json] => Val::Option(Some(Box::new(json_val(inner, json)?))),
            _ => return None,
        },
        Type::Result { ok, err } => match json.get(0)?.as_str()? {
            "ok" => Val::Result(Ok(payload(ok.as_deref(), json.get(1))?)),
            "err" => Val::Result(Err(payload(err.as_deref(), json.get(1))?)),
            _ => return None,
        },
    })
}
