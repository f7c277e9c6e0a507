//! Values by type: IPLD ⇄ WIT, lossless in both directions.

use std::{borrow::Cow, cmp::Ordering, collections::BTreeMap};

use asterism_protocol::{Cid, Out, Promise, Value};
use serde_bytes::ByteBuf;

use crate::{Function, Type, name};

/// A WIT value. Names are resolved to indices: hosts read no strings to lower it.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are WIT's")]
pub enum Val {
    Bool(bool),
    S8(i8),
    U8(u8),
    S16(i16),
    U16(u16),
    S32(i32),
    U32(u32),
    S64(i64),
    U64(u64),
    F32(f32),
    F64(f64),
    Char(char),
    String(String),
    /// A `list<u8>`, of fixed length or not.
    Bytes(Vec<u8>),
    /// Any other list.
    List(Vec<Val>),
    /// Pairs of a map; of equal keys the last counts.
    Map(Vec<(Val, Val)>),
    /// Fields in declaration order.
    Record(Vec<Val>),
    Tuple(Vec<Val>),
    /// The case by its index.
    Variant(u32, Option<Box<Val>>),
    Enum(u32),
    /// Which flags are set, in declaration order.
    Flags(Vec<bool>),
    Option(Option<Box<Val>>),
    Result(Result<Option<Box<Val>>, Option<Box<Val>>>),
    /// A handle to a resource that the host owns (WASI).
    Own(u32),
    /// A borrowed handle.
    Borrow(u32),
}

/// A value that does not fit its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct ValueError {
    /// Where: `args[1].width`.
    pub path: String,
    /// What is wrong: `300 does not fit u8`.
    pub reason: String,
}

/// The arguments of `function` as WIT values. Links where bytes are expected are looked up in `blobs`.
///
/// # Errors
/// Too few or too many arguments, or the first value that does not fit, with its path.
pub fn args_of_values(
    function: &Function,
    args: &[Value],
    blobs: &BTreeMap<Cid, ByteBuf>,
) -> Result<Vec<Val>, ValueError> {
    let mut reader = Reader {
        links: Links::Lookup(blobs),
    };
    reader.args(function, args).map_err(|odd| odd.at("args"))
}

/// One value as a WIT value; `path` is where it stands.
///
/// # Errors
/// It does not fit, with its path.
pub fn val_of_value(
    ty: &Type,
    value: &Value,
    blobs: &BTreeMap<Cid, ByteBuf>,
    path: &str,
) -> Result<Val, ValueError> {
    Reader {
        links: Links::Lookup(blobs),
    }
    .val(ty, value)
    .map_err(|odd| odd.at(path))
}

/// The arguments of `function` in canonical form, so that equal calls have one instruction: integer 5 for an `f64`
/// becomes 5.0, `fieldName` becomes `field-name`. Promises pass unchecked wherever they stand, links where bytes are expected too.
///
/// # Errors
/// As [`args_of_values`].
pub fn canonical_args(function: &Function, args: &[Value]) -> Result<Vec<Value>, ValueError> {
    let mut reader = Reader {
        links: Links::Keep(Vec::new()),
    };
    let vals = reader.args(function, args).map_err(|odd| odd.at("args"))?;
    let Links::Keep(kept) = &reader.links else {
        unreachable!("the reader keeps what it was made to keep")
    };
    Ok(function
        .params
        .iter()
        .zip(&vals)
        .map(|((_, ty), val)| write(ty, val, kept))
        .collect())
}

/// Every mistake that [`canonical_args`] would find: a wrong number of arguments, or the first in each of them.
#[must_use]
pub fn arg_mistakes(function: &Function, args: &[Value]) -> Vec<ValueError> {
    if args.len() != function.params.len() {
        return canonical_args(function, args).err().into_iter().collect();
    }
    let mut reader = Reader {
        links: Links::Keep(Vec::new()),
    };
    let pairs = function.params.iter().zip(args).enumerate();
    pairs
        .filter_map(|(index, ((_, ty), value))| {
            let odd = reader.val(ty, value).err()?;
            Some(odd.under(format!("[{index}]")).at("args"))
        })
        .collect()
}

/// The IPLD form of a WIT value. NaN and infinities become strings. A value of another type, which no host makes, is Null.
#[must_use]
pub fn value_of_val(ty: &Type, val: &Val) -> Value {
    write(ty, val, &[])
}

/// What a function that returned came to: its own `result` is the branch of the outcome, no result is Null.
#[must_use]
pub fn out_of_val(function: &Function, result: Option<&Val>) -> Out {
    let payload = |ty: &Option<Box<Type>>, val: &Option<Box<Val>>| match (ty, val) {
        (Some(ty), Some(val)) => value_of_val(ty, val),
        _ => Value::Null,
    };
    match (&function.result, result) {
        (Some(Type::Result { ok, .. }), Some(Val::Result(Ok(val)))) => Out::Ok(payload(ok, val)),
        (Some(Type::Result { err, .. }), Some(Val::Result(Err(val)))) => {
            Out::Error(payload(err, val))
        }
        (Some(ty), Some(val)) => Out::Ok(value_of_val(ty, val)),
        _ => Out::Ok(Value::Null),
    }
}

/// Where links and promises go.
enum Links<'a> {
    /// Links become the bytes behind them.
    Lookup(&'a BTreeMap<Cid, ByteBuf>),
    /// Links and promises are kept aside, as they are; a [`Val::Own`] holds the place.
    Keep(Vec<Value>),
}

/// Reads IPLD by type, with whatever spelling is accepted.
struct Reader<'a> {
    links: Links<'a>,
}

/// What is wrong, and the steps from it outwards.
struct Odd {
    steps: Vec<String>,
    reason: String,
}

type Read<T> = Result<T, Odd>;

impl Odd {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            steps: Vec::new(),
            reason: reason.into(),
        }
    }

    fn under(mut self, step: String) -> Self {
        self.steps.push(step);
        self
    }

    fn at(self, start: &str) -> ValueError {
        let steps = self.steps.into_iter().rev();
        ValueError {
            path: steps.fold(start.to_owned(), |path, step| path + &step),
            reason: self.reason,
        }
    }
}

impl Reader<'_> {
    fn args(&mut self, function: &Function, args: &[Value]) -> Read<Vec<Val>> {
        let wanted = function.params.len();
        if args.len() != wanted {
            let plural = if wanted == 1 { "" } else { "s" };
            let is_or_are = if args.len() == 1 { "is" } else { "are" };
            return Err(Odd::new(format!(
                "`{}` takes {wanted} argument{plural}, {} {is_or_are} given",
                function.signature(),
                args.len()
            )));
        }
        let pairs = function.params.iter().zip(args).enumerate();
        pairs
            .map(|(index, ((_, ty), value))| {
                self.val(ty, value)
                    .map_err(|odd| odd.under(format!("[{index}]")))
            })
            .collect()
    }

    fn val(&mut self, ty: &Type, value: &Value) -> Read<Val> {
        if let Links::Keep(kept) = &mut self.links {
            let link = ty.is_bytes() && matches!(value, Value::Link(_));
            if link || Promise::of_value(value).is_some() {
                kept.push(value.clone());
                return Ok(Val::Own((kept.len() - 1) as u32));
            }
        }
        Ok(match ty {
            Type::Bool => match value {
                Value::Bool(bool) => Val::Bool(*bool),
                _ => return Err(mismatch(value, ty)),
            },
            Type::S8 => Val::S8(integer(ty, value)?),
            Type::U8 => Val::U8(integer(ty, value)?),
            Type::S16 => Val::S16(integer(ty, value)?),
            Type::U16 => Val::U16(integer(ty, value)?),
            Type::S32 => Val::S32(integer(ty, value)?),
            Type::U32 => Val::U32(integer(ty, value)?),
            Type::S64 => Val::S64(signed(ty, decimal(ty, value)?.as_ref())?),
            Type::U64 => Val::U64(integer(ty, decimal(ty, value)?.as_ref())?),
            Type::F32 => {
                let wide = float(ty, value)?;
                let narrow = wide as f32;
                if wide.is_finite() && narrow.is_infinite() {
                    return Err(Odd::new(format!("{wide} does not fit f32")));
                }
                Val::F32(narrow)
            }
            Type::F64 => Val::F64(float(ty, value)?),
            Type::Char => match value {
                Value::String(text) => match (text.chars().next(), text.chars().nth(1)) {
                    (Some(char), None) => Val::Char(char),
                    _ => return Err(Odd::new(format!("{} is not one character", shown(value)))),
                },
                _ => return Err(mismatch(value, ty)),
            },
            Type::String => match value {
                Value::String(text) => Val::String(text.clone()),
                _ => return Err(mismatch(value, ty)),
            },
            Type::List(_) if ty.is_bytes() => Val::Bytes(self.bytes(value)?),
            Type::List(element) => Val::List(self.list(ty, element, value)?),
            Type::FixedList(element, length) => {
                let (val, count) = if ty.is_bytes() {
                    let bytes = self.bytes(value)?;
                    let count = bytes.len();
                    (Val::Bytes(bytes), count)
                } else {
                    let items = self.list(ty, element, value)?;
                    let count = items.len();
                    (Val::List(items), count)
                };
                if count != *length as usize {
                    return Err(Odd::new(format!(
                        "a list of {count} where {ty} has {length}"
                    )));
                }
                val
            }
            Type::Map(key, item) => Val::Map(self.map(ty, key, item, value)?),
            Type::Record(fields) => Val::Record(self.record(ty, fields, value)?),
            Type::Tuple(types) => match value {
                Value::List(items) if items.len() == types.len() => {
                    let pairs = types.iter().zip(items).enumerate();
                    let items = pairs.map(|(index, (ty, item))| {
                        self.val(ty, item)
                            .map_err(|odd| odd.under(format!("[{index}]")))
                    });
                    Val::Tuple(items.collect::<Read<_>>()?)
                }
                Value::List(items) => {
                    return Err(Odd::new(format!(
                        "a list of {} where {ty} has {}",
                        items.len(),
                        types.len()
                    )));
                }
                _ => return Err(mismatch(value, ty)),
            },
            Type::Variant(cases) => self.variant(ty, cases, value)?,
            Type::Enum(names) => match value {
                Value::String(text) => Val::Enum(place(names.iter(), text, "case")?),
                _ => return Err(mismatch(value, ty)),
            },
            Type::Flags(names) => {
                let Value::List(items) = value else {
                    return Err(mismatch(value, ty));
                };
                let mut set = vec![false; names.len()];
                for (index, item) in items.iter().enumerate() {
                    let at = |odd: Odd| odd.under(format!("[{index}]"));
                    let Value::String(text) = item else {
                        return Err(at(mismatch(item, &Type::String)));
                    };
                    set[place(names.iter(), text, "flag").map_err(at)? as usize] = true;
                }
                Val::Flags(set)
            }
            Type::Option(inner) => {
                let boxed = |val: Read<Val>| Ok(Val::Option(Some(Box::new(val?))));
                match value {
                    _ if inner.can_be_null() => match value {
                        Value::List(items) if items.is_empty() => Val::Option(None),
                        Value::List(items) if items.len() == 1 => boxed(
                            self.val(inner, &items[0])
                                .map_err(|odd| odd.under("[0]".into())),
                        )?,
                        _ => {
                            return Err(Odd::new(format!(
                                "{} where {ty} is [] or [value]",
                                shown(value)
                            )));
                        }
                    },
                    Value::Null => Val::Option(None),
                    _ => boxed(self.val(inner, value))?,
                }
            }
            Type::Result { ok, err } => self.result(ty, ok.as_deref(), err.as_deref(), value)?,
        })
    }

    fn bytes(&self, value: &Value) -> Read<Vec<u8>> {
        match value {
            Value::Bytes(bytes) => Ok(bytes.clone()),
            Value::List(items) => {
                let byte = |(index, item)| {
                    integer(&Type::U8, item).map_err(|odd| odd.under(format!("[{index}]")))
                };
                items.iter().enumerate().map(byte).collect()
            }
            Value::Link(link) => {
                let cid = Cid::try_from(*link).map_err(|error| Odd::new(error.to_string()))?;
                let Links::Lookup(blobs) = &self.links else {
                    unreachable!("links that are kept were kept before")
                };
                match blobs.get(&cid) {
                    Some(bytes) => Ok(bytes.to_vec()),
                    None => Err(Odd::new(format!("the bytes of {cid} are not at hand"))),
                }
            }
            Value::Map(map) => match dag_json_bytes(map) {
                Some(bytes) => Ok(bytes),
                None => Err(Odd::new(
                    "a map is not bytes: write {\"/\": {\"bytes\": \"<base64>\"}}, or a list of integers",
                )),
            },
            Value::String(_) => Err(Odd::new(
                "a string is not bytes: write {\"/\": {\"bytes\": \"<base64>\"}}, or a list of integers",
            )),
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
                Err(Odd::new(format!("{} is not bytes", shown(value))))
            }
        }
    }

    fn list(&mut self, ty: &Type, element: &Type, value: &Value) -> Read<Vec<Val>> {
        match (value, ty.pairs()) {
            (Value::List(items), _) => {
                let items = items.iter().enumerate();
                items
                    .map(|(index, item)| {
                        self.val(element, item)
                            .map_err(|odd| odd.under(format!("[{index}]")))
                    })
                    .collect()
            }
            (Value::Map(map), Some(ty)) => {
                let pair = |(key, item): (&String, &Value)| {
                    let val = self
                        .val(ty, item)
                        .map_err(|odd| odd.under(format!(".{key}")))?;
                    Ok(Val::Tuple(vec![Val::String(key.clone()), val]))
                };
                map.iter().map(pair).collect()
            }
            _ => Err(mismatch(value, ty)),
        }
    }

    /// Pairs in the order of their keys, whatever order they are given in.
    fn map(&mut self, ty: &Type, key: &Type, item: &Type, value: &Value) -> Read<Vec<(Val, Val)>> {
        let mut pairs = match (value, key) {
            (Value::Map(map), Type::String) => {
                let pair = |(name, value): (&String, &Value)| {
                    let val = self.val(item, value);
                    let val = val.map_err(|odd| odd.under(format!(".{name}")))?;
                    Ok((Val::String(name.clone()), val))
                };
                map.iter().map(pair).collect::<Read<Vec<_>>>()?
            }
            (Value::List(items), _) => {
                let pair = |(index, pair): (usize, &Value)| {
                    let at = |odd: Odd| odd.under(format!("[{index}]"));
                    let Value::List(pair) = pair else {
                        return Err(at(mismatch(pair, ty)));
                    };
                    let [name, value] = &pair[..] else {
                        return Err(at(Odd::new(format!(
                            "a list of {} where a pair is wanted",
                            pair.len()
                        ))));
                    };
                    let name = self
                        .val(key, name)
                        .map_err(|odd| at(odd.under("[0]".into())))?;
                    if matches!(name, Val::Own(_)) {
                        return Err(at(Odd::new("a key of a map cannot be awaited")));
                    }
                    let value = self.val(item, value);
                    Ok((name, value.map_err(|odd| at(odd.under("[1]".into())))?))
                };
                items
                    .iter()
                    .enumerate()
                    .map(pair)
                    .collect::<Read<Vec<_>>>()?
            }
            _ => return Err(mismatch(value, ty)),
        };
        pairs.sort_by(|(a, _), (b, _)| order(a, b));
        let twice = pairs
            .windows(2)
            .find(|two| order(&two[0].0, &two[1].0).is_eq());
        if let Some([(name, _), _]) = twice {
            let name = shown(&write(key, name, &[]));
            return Err(Odd::new(format!("the key {name} is given twice")));
        }
        Ok(pairs)
    }

    fn record(&mut self, ty: &Type, fields: &[(String, Type)], value: &Value) -> Read<Vec<Val>> {
        let Value::Map(map) = value else {
            return Err(mismatch(value, ty));
        };
        let mut given: Vec<Option<&Value>> = vec![None; fields.len()];
        for (key, item) in map {
            let exact = fields.iter().position(|(name, _)| name == key);
            let spelled = || {
                fields
                    .iter()
                    .position(|(name, _)| name::kebab(name) == name::kebab(key))
            };
            let Some(index) = exact.or_else(spelled) else {
                let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
                return Err(Odd::new(format!(
                    "there is no field `{}`, only {}",
                    cut(key),
                    names.join(", ")
                )));
            };
            if given[index].replace(item).is_some() {
                return Err(Odd::new(format!(
                    "the field `{}` is given twice, in two spellings",
                    fields[index].0
                )));
            }
        }
        let field = |((name, ty), item): (&(String, Type), Option<&Value>)| match (item, ty) {
            (Some(item), _) => self
                .val(ty, item)
                .map_err(|odd| odd.under(format!(".{name}"))),
            (None, Type::Option(_)) => Ok(Val::Option(None)),
            (None, _) => Err(Odd::new(format!("the field `{name}` is missing"))),
        };
        fields.iter().zip(given).map(field).collect()
    }

    fn variant(&mut self, ty: &Type, cases: &[(String, Option<Type>)], value: &Value) -> Read<Val> {
        let none = Value::Null;
        let (name, payload) = match value {
            Value::String(name) => (name, None),
            Value::Map(map) if map.len() == 1 => match map.iter().next() {
                Some((name, payload)) => (name, Some(payload)),
                None => return Err(mismatch(value, ty)),
            },
            _ => {
                return Err(Odd::new(format!(
                    "{} where {ty} is {{\"case\": value}}",
                    shown(value)
                )));
            }
        };
        let index = place(cases.iter().map(|(name, _)| name), name, "case")?;
        let under = |odd: Odd| odd.under(format!(".{name}"));
        let payload = match (&cases[index as usize].1, payload) {
            (None, None | Some(Value::Null)) => None,
            (None, Some(payload)) => {
                return Err(under(Odd::new(format!(
                    "{} where the case has no payload",
                    shown(payload)
                ))));
            }
            (Some(ty), None) if !ty.can_be_null() => {
                return Err(Odd::new(format!(
                    "the case `{name}` has a payload: write {{\"{name}\": value}}"
                )));
            }
            (Some(ty), payload) => Some(Box::new(
                self.val(ty, payload.unwrap_or(&none)).map_err(under)?,
            )),
        };
        Ok(Val::Variant(index, payload))
    }

    fn result(
        &mut self,
        ty: &Type,
        ok: Option<&Type>,
        err: Option<&Type>,
        value: &Value,
    ) -> Read<Val> {
        let unclear = || {
            Odd::new(format!(
                "{} where {ty} is {{\"ok\": value}} or {{\"err\": value}}",
                shown(value)
            ))
        };
        let (is_ok, step, payload) = match value {
            Value::Map(map) if map.len() == 1 => match map.iter().next() {
                Some((key, payload)) if key == "ok" => (true, ".ok", payload),
                Some((key, payload)) if key == "err" => (false, ".err", payload),
                _ => return Err(unclear()),
            },
            // As Homestar writes them.
            Value::List(items) => match &items[..] {
                [Value::Null, Value::Null] | [] => return Err(unclear()),
                [payload, Value::Null] => (true, "[0]", payload),
                [Value::Null, payload] => (false, "[1]", payload),
                _ => return Err(unclear()),
            },
            _ => return Err(unclear()),
        };
        let payload = match (if is_ok { ok } else { err }, payload) {
            (None, Value::Null) => None,
            (None, payload) => {
                return Err(
                    Odd::new(format!("{} where {ty} has no payload", shown(payload)))
                        .under(step.into()),
                );
            }
            (Some(ty), payload) => Some(Box::new(
                self.val(ty, payload)
                    .map_err(|odd| odd.under(step.into()))?,
            )),
        };
        Ok(Val::Result(if is_ok { Ok(payload) } else { Err(payload) }))
    }
}

/// The index of `name` among `names`.
fn place<'a>(
    mut names: impl Iterator<Item = &'a String> + Clone,
    name: &str,
    what: &str,
) -> Read<u32> {
    let all = names.clone();
    match names.position(|known| known == name) {
        Some(index) => Ok(index as u32),
        None => {
            let all: Vec<_> = all.map(String::as_str).collect();
            Err(Odd::new(format!(
                "there is no {what} `{}`, only {}",
                cut(name),
                all.join(", ")
            )))
        }
    }
}

/// A whole number in range: an integer, or a float without a fraction.
fn integer<T: TryFrom<i128>>(ty: &Type, value: &Value) -> Read<T> {
    let whole = match value {
        Value::Integer(n) => Some(*n),
        // Floats beyond 128 bits saturate, which is out of every range.
        Value::Float(x) if x.fract() == 0.0 => Some(*x as i128),
        Value::Float(x) => return Err(Odd::new(format!("{x} is not a whole number, {ty} is"))),
        _ => None,
    };
    match whole.map(T::try_from) {
        Some(Ok(n)) => Ok(n),
        Some(Err(_)) => Err(Odd::new(format!("{} does not fit {ty}", shown(value)))),
        None => Err(mismatch(value, ty)),
    }
}

/// [`integer`] of 64 bits with a sign. JSON has no integers below those: the nearest are read as a float that is just
/// the least of them, and would be another number without a word.
fn signed(ty: &Type, value: &Value) -> Read<i64> {
    match value {
        Value::Float(x) if *x <= i64::MIN as f64 => Err(Odd::new(format!(
            "{} does not fit {ty}: its least is {}, written as a whole number",
            shown(value),
            i64::MIN
        ))),
        value => integer(ty, value),
    }
}

/// A decimal string as the integer it spells: JSON of many languages loses digits beyond 53 bits.
fn decimal<'a>(ty: &Type, value: &'a Value) -> Read<Cow<'a, Value>> {
    let Value::String(text) = value else {
        return Ok(Cow::Borrowed(value));
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Odd::new(format!(
            "{} is not a decimal number",
            shown(value)
        )));
    }
    match text.parse() {
        Ok(n) => Ok(Cow::Owned(Value::Integer(n))),
        Err(_) => Err(Odd::new(format!("{} does not fit {ty}", shown(value)))),
    }
}

fn float(ty: &Type, value: &Value) -> Read<f64> {
    match value {
        Value::Float(x) => Ok(*x),
        Value::Integer(n) => {
            let x = *n as f64;
            // 2^127 as a float is beyond what an i128 holds; its conversion back saturates and differs.
            if x as i128 == *n {
                Ok(x)
            } else {
                Err(Odd::new(format!("{n} has no exact {ty}")))
            }
        }
        Value::String(text) => match text.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => Err(mismatch(value, ty)),
        },
        _ => Err(mismatch(value, ty)),
    }
}

/// `{"/": {"bytes": "<base64>"}}`, where JSON was not read as DAG-JSON.
fn dag_json_bytes(map: &BTreeMap<String, Value>) -> Option<Vec<u8>> {
    let Value::Map(inner) = map.get("/").filter(|_| map.len() == 1)? else {
        return None;
    };
    let Value::String(text) = inner.get("bytes").filter(|_| inner.len() == 1)? else {
        return None;
    };
    base64(text)
}

/// Standard base64, padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for chunk in text.chunks(4) {
        let mut bits: u32 = 0;
        for byte in chunk {
            let six = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(six);
        }
        let [_, a, b, c] = (bits << (6 * (4 - chunk.len()))).to_be_bytes();
        match chunk.len() {
            4 => bytes.extend([a, b, c]),
            3 => bytes.extend([a, b]),
            2 => bytes.push(a),
            _ => return None,
        }
    }
    Some(bytes)
}

fn mismatch(value: &Value, ty: &Type) -> Odd {
    Odd::new(format!("{} where {ty} is wanted", shown(value)))
}

/// A value in an error: short.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(bool) => bool.to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Float(x) => format!("{x:?}"),
        Value::String(text) => format!("{:?}", cut(text)),
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Value::List(items) => format!("a list of {}", items.len()),
        Value::Map(map) => match map.keys().next() {
            Some(key) if map.len() == 1 => format!("a map with the key {:?}", cut(key)),
            _ => format!("a map of {}", map.len()),
        },
        Value::Link(_) => "a link".into(),
    }
}

/// A text in an error: its start.
fn cut(text: &str) -> Cow<'_, str> {
    const CHARS: usize = 40;
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// The canonical IPLD form; a [`Val::Own`] stands for the value kept under its number.
fn write(ty: &Type, val: &Val, kept: &[Value]) -> Value {
    let int = |n: i128| Value::Integer(n);
    let single =
        |key: &str, payload: Value| Value::Map(BTreeMap::from([(key.to_owned(), payload)]));
    let payload = |ty: Option<&Type>, val: Option<&Val>| match (ty, val) {
        (Some(ty), Some(val)) => write(ty, val, kept),
        _ => Value::Null,
    };
    match (ty, val) {
        (_, Val::Own(index)) => kept.get(*index as usize).cloned().unwrap_or(Value::Null),
        (Type::Bool, Val::Bool(bool)) => Value::Bool(*bool),
        (Type::S8, Val::S8(n)) => int((*n).into()),
        (Type::U8, Val::U8(n)) => int((*n).into()),
        (Type::S16, Val::S16(n)) => int((*n).into()),
        (Type::U16, Val::U16(n)) => int((*n).into()),
        (Type::S32, Val::S32(n)) => int((*n).into()),
        (Type::U32, Val::U32(n)) => int((*n).into()),
        (Type::S64, Val::S64(n)) => int((*n).into()),
        (Type::U64, Val::U64(n)) => int((*n).into()),
        (Type::F32, Val::F32(x)) => write_float((*x).into()),
        (Type::F64, Val::F64(x)) => write_float(*x),
        (Type::Char, Val::Char(char)) => Value::String(char.to_string()),
        (Type::String, Val::String(text)) => Value::String(text.clone()),
        (Type::List(_) | Type::FixedList(..), Val::Bytes(bytes)) => Value::Bytes(bytes.clone()),
        (Type::List(element) | Type::FixedList(element, _), Val::List(items)) => Value::List(
            items
                .iter()
                .map(|item| write(element, item, kept))
                .collect(),
        ),
        (Type::Map(key, item), Val::Map(pairs)) => write_map(key, item, pairs, kept),
        (Type::Record(fields), Val::Record(vals)) => {
            let pairs = fields.iter().zip(vals);
            Value::Map(
                pairs
                    .map(|((name, ty), val)| (name.clone(), write(ty, val, kept)))
                    .collect(),
            )
        }
        (Type::Tuple(types), Val::Tuple(vals)) => Value::List(
            types
                .iter()
                .zip(vals)
                .map(|(ty, val)| write(ty, val, kept))
                .collect(),
        ),
        (Type::Variant(cases), Val::Variant(index, val)) => match cases.get(*index as usize) {
            Some((name, ty)) => single(name, payload(ty.as_ref(), val.as_deref())),
            None => Value::Null,
        },
        (Type::Enum(names), Val::Enum(index)) => names
            .get(*index as usize)
            .map_or(Value::Null, |name| Value::String(name.clone())),
        (Type::Flags(names), Val::Flags(set)) => {
            let set = names.iter().zip(set).filter(|(_, set)| **set);
            Value::List(set.map(|(name, _)| Value::String(name.clone())).collect())
        }
        (Type::Option(inner), Val::Option(val)) => match (inner.can_be_null(), val) {
            (false, None) => Value::Null,
            (false, Some(val)) => write(inner, val, kept),
            (true, None) => Value::List(Vec::new()),
            (true, Some(val)) => Value::List(vec![write(inner, val, kept)]),
        },
        (Type::Result { ok, .. }, Val::Result(Ok(val))) => {
            single("ok", payload(ok.as_deref(), val.as_deref()))
        }
        (Type::Result { err, .. }, Val::Result(Err(val))) => {
            single("err", payload(err.as_deref(), val.as_deref()))
        }
        _ => Value::Null,
    }
}

/// A map has no order and each key once: equal ones have one form.
fn write_map(key: &Type, item: &Type, pairs: &[(Val, Val)], kept: &[Value]) -> Value {
    if *key == Type::String {
        let pair = |(name, val): &(Val, Val)| match name {
            Val::String(name) => Some((name.clone(), write(item, val, kept))),
            _ => None,
        };
        return Value::Map(pairs.iter().filter_map(pair).collect());
    }
    let mut sorted: Vec<_> = pairs.iter().collect();
    // Stable: of equal keys, the last stays the last.
    sorted.sort_by(|(a, _), (b, _)| order(a, b));
    let last = |(index, pair): (usize, &&(Val, Val))| {
        let next = sorted.get(index + 1);
        next.is_none_or(|next| order(&pair.0, &next.0).is_ne())
            .then(|| Value::List(vec![write(key, &pair.0, kept), write(item, &pair.1, kept)]))
    };
    Value::List(sorted.iter().enumerate().filter_map(last).collect())
}

/// The order of keys; values that are no keys of one type are all alike.
fn order(a: &Val, b: &Val) -> Ordering {
    match (a, b) {
        (Val::Bool(a), Val::Bool(b)) => a.cmp(b),
        (Val::S8(a), Val::S8(b)) => a.cmp(b),
        (Val::U8(a), Val::U8(b)) => a.cmp(b),
        (Val::S16(a), Val::S16(b)) => a.cmp(b),
        (Val::U16(a), Val::U16(b)) => a.cmp(b),
        (Val::S32(a), Val::S32(b)) => a.cmp(b),
        (Val::U32(a), Val::U32(b)) => a.cmp(b),
        (Val::S64(a), Val::S64(b)) => a.cmp(b),
        (Val::U64(a), Val::U64(b)) => a.cmp(b),
        (Val::Char(a), Val::Char(b)) => a.cmp(b),
        (Val::String(a), Val::String(b)) => a.cmp(b),
        _ => Ordering::Equal,
    }
}

/// DAG-CBOR has neither NaN nor infinities.
fn write_float(x: f64) -> Value {
    let text = if x.is_nan() {
        "NaN"
    } else if x == f64::INFINITY {
        "Infinity"
    } else if x == f64::NEG_INFINITY {
        "-Infinity"
    } else {
        return Value::Float(x);
    };
    Value::String(text.to_owned())
}
