//! Inputs and outputs of a task: their types, their schemas, and what a function takes of them.

use asterism_component::Type;
use serde_json::{Map, Value as Json, json};

use super::{Task, join, map, mistake, text};
use crate::failure::Failure;

/// Declared inputs or outputs.
#[derive(Default)]
pub(crate) struct Fields {
    list: Vec<Field>,
    /// A list says in which order they are, a map does not.
    is_ordered: bool,
}

/// A declared input or output.
struct Field {
    name: String,
    kind: Kind,
    default: Option<Json>,
}

/// Types of Corebrum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Integer,
    Number,
    String,
    Boolean,
    Object,
    Array,
    Any,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "integer" | "int" => Self::Integer,
            "number" | "float" => Self::Number,
            "string" | "text" => Self::String,
            "boolean" | "bool" => Self::Boolean,
            "object" | "json" | "dict" => Self::Object,
            "array" | "list" => Self::Array,
            "any" => Self::Any,
            _ => return None,
        })
    }

    fn takes(self, value: &Json) -> bool {
        match self {
            Self::Integer => whole(value).is_some(),
            Self::Number => value.is_number(),
            Self::String => value.is_string(),
            Self::Boolean => value.is_boolean(),
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
            Self::Any => true,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Number => "number",
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::Object => "object",
            Self::Array => "array",
            Self::Any => "any",
        }
    }
}

/// The whole number that a JSON number is; `6.0` is one to JSON Schema, too.
fn whole(value: &Json) -> Option<Json> {
    /// Below it each whole number has a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value.as_f64() {
        _ if value.is_i64() || value.is_u64() => Some(value.clone()),
        Some(number) if number.fract() == 0.0 && number.abs() < EXACT => Some(json!(number as i64)),
        _ => None,
    }
}

impl Fields {
    /// A list of `{name, type}`, or a map of names to types.
    pub(super) fn read(declared: Option<&Json>, place: &str) -> Result<Self, Failure> {
        let list: Result<Vec<Field>, Failure> = match declared {
            None | Some(Json::Null) => Ok(Vec::new()),
            Some(Json::Array(list)) => {
                let fields = list.iter().enumerate().map(|(index, entry)| {
                    let place = format!("{place}[{index}]");
                    if let Json::String(name) = entry {
                        return Field::read(name, None, None, &place);
                    }
                    let entry = map(entry, &place)?;
                    let name = text(entry, "name", &place)?
                        .ok_or_else(|| mistake(&join(&place, "name"), "it is missing"))?;
                    let (kind, default) = (entry.get("type"), entry.get("default"));
                    Field::read(&name, kind, default, &join(&place, "type"))
                });
                fields.collect()
            }
            Some(Json::Object(entries)) => {
                let fields = entries.iter().map(|(name, entry)| {
                    let place = join(place, name);
                    match entry {
                        Json::Object(entry) => {
                            Field::read(name, entry.get("type"), entry.get("default"), &place)
                        }
                        kind => Field::read(name, Some(kind), None, &place),
                    }
                });
                fields.collect()
            }
            Some(_) => Err(mistake(place, "it must be a list of `name` and `type`")),
        };
        let list = list?;
        let is_ordered = !matches!(declared, Some(Json::Object(_))) || list.len() == 1;
        Ok(Self { list, is_ordered })
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.list.iter().any(|field| is_same(&field.name, name))
    }

    /// The only one.
    pub(super) fn single(&self) -> Option<(&str, Kind)> {
        match &self.list[..] {
            [only] => Some((&only.name, only.kind)),
            _ => None,
        }
    }

    /// Is each there, and of its type? `what` is where they are.
    pub(super) fn check(&self, values: &Map<String, Json>, what: &str) -> Result<(), String> {
        for field in &self.list {
            let place = join(what, &field.name);
            let value = values
                .get(&field.name)
                .ok_or_else(|| format!("{place}: it is missing"))?;
            field.check(value, &place)?;
        }
        Ok(())
    }
}

impl Field {
    fn read(
        name: &str,
        kind: Option<&Json>,
        default: Option<&Json>,
        place: &str,
    ) -> Result<Self, Failure> {
        let kind = match kind {
            None | Some(Json::Null) => Kind::Any,
            Some(Json::String(kind)) => Kind::of(kind).ok_or_else(|| {
                mistake(place, &format!("the type `{kind}` is not known"))
                    .hint("write integer, number, string, boolean, object or array")
            })?,
            Some(_) => return Err(mistake(place, "a type must be a text")),
        };
        Ok(Self {
            name: name.to_owned(),
            kind,
            default: default.cloned(),
        })
    }

    fn check(&self, value: &Json, place: &str) -> Result<(), String> {
        if self.kind.takes(value) {
            Ok(())
        } else {
            let kind = self.kind.name();
            Err(format!("{place}: {value} is not of type {kind}"))
        }
    }
}

/// WIT writes `first-name` where JSON and C write `first_name`.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one == other || one.replace('-', "_") == other.replace('-', "_")
}

/// A whole number that is not negative.
pub(super) fn number(value: &Json, place: &str) -> Result<u64, Failure> {
    value
        .as_u64()
        .ok_or_else(|| mistake(place, &format!("{value} is not a whole number above 0")))
}

/// A number of bytes, such as `64MB` or `1 GiB`: as Corebrum counts, a megabyte is 1,048,576 bytes.
pub(super) fn bytes(value: &Json, place: &str) -> Result<u64, Failure> {
    let Some(text) = value.as_str() else {
        return number(value, place);
    };
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor: Option<u64> = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kb" | "kib" => Some(1 << 10),
        "m" | "mb" | "mib" => Some(1 << 20),
        "g" | "gb" | "gib" => Some(1 << 30),
        _ => None,
    };
    let bytes = digits
        .parse::<u64>()
        .ok()
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor));
    bytes.ok_or_else(|| mistake(place, &format!("`{text}` is not a size, such as 64MB")))
}

/// What a task is given: inputs by name, and in a pipeline what the task before it comes to.
pub(crate) struct Given<'a> {
    /// Inputs by name.
    pub(crate) input: &'a Map<String, Json>,
    /// The task before, by its name in the workflow, and what it declares to come to.
    pub(crate) before: Option<(&'a str, &'a Fields)>,
}

impl Given<'_> {
    /// The promise of what the task before comes to, where this name means that.
    fn promised(&self, name: &str) -> Option<Json> {
        let (task, outputs) = self.before?;
        let is_meant = name == "result" || outputs.has(name);
        is_meant.then(|| promise(task))
    }

    fn input(&self, name: &str) -> Option<&Json> {
        let mut entries = self.input.iter();
        self.input.get(name).or_else(|| {
            let found = entries.find(|(given, _)| is_same(given, name));
            found.map(|(_, value)| value)
        })
    }

    /// The value of a declared input: given, or its default.
    fn value(&self, field: &Field) -> Result<Json, Failure> {
        let name = &field.name;
        let value = match self.input(name).or(field.default.as_ref()) {
            Some(value) => value,
            None => return Err(missing(name)),
        };
        field
            .check(value, &join("input", name))
            .map_err(Failure::invalid)?;
        Ok(match field.kind {
            Kind::Integer => whole(value).unwrap_or_else(|| value.clone()),
            _ => value.clone(),
        })
    }
}

/// What the function's parameters get, as DAG-JSON.
pub(super) fn args(
    task: &Task,
    params: &[(String, Type)],
    given: &Given<'_>,
) -> Result<Vec<Json>, Failure> {
    let fields = &task.inputs;
    if let [(param, ty)] = params
        && let Some(arg) = only_arg(task, param, ty, given)?
    {
        return Ok(vec![arg]);
    }
    if fields.len() != 0 && fields.len() != params.len() {
        let (declared, takes) = (fields.len(), params.len());
        return Err(mistake(
            &join(&task.place, "inputs"),
            &format!("{declared} inputs are declared, and the function takes {takes} arguments"),
        ));
    }
    let mut args = Vec::with_capacity(params.len());
    for (index, (param, ty)) in params.iter().enumerate() {
        let named = fields.list.iter().find(|field| is_same(&field.name, param));
        let placed = fields.list.get(index).filter(|_| fields.is_ordered);
        // In a list the place counts, in a map there is only the name.
        let field = placed.or(named);
        if field.is_none() && fields.len() != 0 {
            let failure = mistake(
                &join(&task.place, "inputs"),
                &format!("none of them is called `{param}`, as the function's argument is"),
            );
            return Err(failure.hint("write them as a list, in the function's order"));
        }
        let name = field.map_or(param.as_str(), |field| field.name.as_str());
        let value = match (given.promised(name), field) {
            (Some(promise), _) => promise,
            (None, Some(field)) => fitted(given.value(field)?, ty),
            (None, None) => match given.input(name) {
                Some(value) => fitted(value.clone(), ty),
                None if matches!(ty, Type::Option(_)) => Json::Null,
                None => return Err(missing(name)),
            },
        };
        args.push(value);
    }
    Ok(args)
}

/// The argument of a function that takes one, where names alone do not say it.
fn only_arg(
    task: &Task,
    param: &str,
    ty: &Type,
    given: &Given<'_>,
) -> Result<Option<Json>, Failure> {
    let fields = &task.inputs;
    let name = fields.single().map_or(param, |(name, _)| name);
    let is_named = given.input(name).is_some();
    match given.before {
        // What comes before is all that it can take, unless it is given something else by name.
        Some((before, _)) if fields.len() <= 1 && !is_named => return Ok(Some(promise(before))),
        _ => {}
    }
    let takes_text = *ty == Type::String;
    if fields.len() > 1 && takes_text {
        // One text for all of them: the convention for objects.
        let mut object = Map::new();
        for field in &fields.list {
            if given.promised(&field.name).is_some() {
                let place = join(&task.place, "inputs");
                return Err(mistake(
                    &place,
                    "a result of the task before cannot be a part of a JSON text",
                )
                .hint("let the function take it as an argument of its own"));
            }
            object.insert(field.name.clone(), given.value(field)?);
        }
        return Ok(Some(json!(Json::Object(object).to_string())));
    }
    if fields.len() != 0 || is_named {
        return Ok(None);
    }
    let mut values = given.input.values();
    Ok(match (values.next(), values.next()) {
        // Core modules do not name their parameters.
        (Some(only), None) if !takes_text => Some(fitted(only.clone(), ty)),
        (Some(Json::String(only)), None) if task.input_schema.is_none() => Some(json!(only)),
        _ if takes_text => Some(json!(Json::Object(given.input.clone()).to_string())),
        _ => None,
    })
}

/// A value in the form that a function takes it in: objects as JSON where it takes a text, truth as a number where it takes
/// one.
fn fitted(value: Json, ty: &Type) -> Json {
    match (&value, ty) {
        (Json::Object(_) | Json::Array(_), Type::String) => json!(value.to_string()),
        (Json::Bool(truth), Type::S32 | Type::S64) => json!(i32::from(*truth)),
        _ => value,
    }
}

fn missing(name: &str) -> Failure {
    mistake(&join("input", name), "it is missing").hint(format!("--input '{{\"{name}\": …}}'"))
}

fn promise(task: &str) -> Json {
    json!(format!("{{{{needs.{task}.output}}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let check = |text: &str, size: Option<u64>| {
            assert_eq!(bytes(&json!(text), "limit").ok(), size, "{text}");
        };
        check("64MB", Some(64 << 20));
        check("1 GiB", Some(1 << 30));
        check("512", Some(512));
        check("MB", None);
        check("-1MB", None);
        check("1TBs", None);
        check("99999999999999999999", None);
        check("18446744073709551615GB", None);
        assert_eq!(bytes(&json!(7), "limit").ok(), Some(7));
    }
}
