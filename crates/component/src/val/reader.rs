//! IPLD → WIT, by type.

use std::collections::BTreeMap;

use asterism_protocol::{Cid, Promise, Value};
use serde_bytes::ByteBuf;

use super::{
    Val,
    odd::{Odd, Read, cut, mismatch, shown},
    spellings::{dag_json_bytes, decimal, float, integer},
    writer::{order, write},
};
use crate::{Function, Type, name};

/// Where links and promises go.
pub(super) enum Links<'a> {
    /// Links become the bytes behind them.
    Lookup(&'a BTreeMap<Cid, ByteBuf>),
    /// Links and promises are kept aside, as they are; a [`Val::Own`] holds the place.
    Keep(Vec<Value>),
}

/// Reads IPLD by type, with whatever spelling is accepted.
pub(super) struct Reader<'a> {
    pub(super) links: Links<'a>,
    pub(super) judge: &'a Judge<'a>,
}

/// Says why the promise can never be kept where the type is wanted, if it is known.
pub type Judge<'a> = dyn Fn(&Promise, &Type) -> Result<(), String> + 'a;

/// Nothing is known of promises.
pub(super) fn lenient(_: &Promise, _: &Type) -> Result<(), String> {
    Ok(())
}

impl Reader<'_> {
    pub(super) fn args(&mut self, function: &Function, args: &[Value]) -> Read<Vec<Val>> {
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

    pub(super) fn val(&mut self, ty: &Type, value: &Value) -> Read<Val> {
        if let Links::Keep(kept) = &mut self.links {
            let link = ty.is_bytes() && matches!(value, Value::Link(_));
            let promise = Promise::of_value(value);
            if let Some(promise) = &promise {
                (self.judge)(promise, ty).map_err(Odd::new)?;
            }
            if link || promise.is_some() {
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
            Type::S64 => Val::S64(integer(ty, decimal(ty, value)?.as_ref())?),
            Type::U64 => Val::U64(integer(ty, decimal(ty, value)?.as_ref())?),
            Type::F32 => {
                let wide = float(ty, value)?;
                let narrow = wide as f32;
                if wide.is_finite() && narrow.is_infinite() {
                    return Err(Odd::new(format!("{wide:?} does not fit f32")));
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
            Value::List(items) => match &items[..] {
                [Value::Null, Value::Null] | [] => return Err(unclear()),
                [Value::String(branch), payload]
                    if self.is_outcome(ok, err, branch, payload)? =>
                {
                    (branch == "ok", "[1]", payload)
                }
                // As Homestar writes them.
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

    /// Is `[branch, payload]` what a task came to, as `await/*` hands it over? Homestar writes a success as `[value, null]`, so
    /// without a payload it may be a success with that text.
    fn is_outcome(
        &mut self,
        ok: Option<&Type>,
        err: Option<&Type>,
        branch: &str,
        payload: &Value,
    ) -> Read<bool> {
        let of_branch = match branch {
            "ok" => ok,
            "error" => err,
            _ => return Ok(false),
        };
        if *payload != Value::Null {
            return Ok(true);
        }
        let text = Value::String(branch.to_owned());
        let is_value = ok.is_some_and(|ty| self.val(ty, &text).is_ok());
        if is_value && of_branch.is_none_or(Type::can_be_null) {
            let key = if branch == "ok" { "ok" } else { "err" };
            return Err(Odd::new(format!(
                "[\"{branch}\", null] may be {{\"ok\": \"{branch}\"}} as well as {{\"{key}\": null}}: write one of these, or await \
                 `await/ok` or `await/error`"
            )));
        }
        Ok(!is_value)
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
