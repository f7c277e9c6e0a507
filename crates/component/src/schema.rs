//! JSON Schema of arguments and values: what forms and other languages read.

use serde_json::{Value as Json, json};

use crate::{Function, Type};

impl Function {
    /// JSON Schema (2020-12) of its arguments: an object by parameter name. `propertyOrder` keeps their order.
    #[must_use]
    pub fn schema(&self) -> Json {
        let mut schema = object(&self.params);
        schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        schema["title"] = json!(self.name);
        schema
    }

    /// JSON Schema of what it returns; of the `ok` of its own result.
    #[must_use]
    pub fn result_schema(&self) -> Json {
        match &self.result {
            None | Some(Type::Result { ok: None, .. }) => json!({ "type": "null" }),
            Some(Type::Result { ok: Some(ok), .. }) => ok.schema(),
            Some(ty) => ty.schema(),
        }
    }
}

impl Type {
    /// JSON Schema of the form that values of this type have in DAG-JSON.
    #[must_use]
    pub fn schema(&self) -> Json {
        let whole =
            |min: i64, max: i64| json!({ "type": "integer", "minimum": min, "maximum": max });
        let float = |format: &str| json!({ "oneOf": [{ "type": "number", "format": format }, { "enum": ["NaN", "Infinity", "-Infinity"] }] });
        match self {
            Self::Bool => json!({ "type": "boolean" }),
            Self::S8 => whole(i8::MIN.into(), i8::MAX.into()),
            Self::U8 => whole(0, u8::MAX.into()),
            Self::S16 => whole(i16::MIN.into(), i16::MAX.into()),
            Self::U16 => whole(0, u16::MAX.into()),
            Self::S32 => whole(i32::MIN.into(), i32::MAX.into()),
            Self::U32 => whole(0, u32::MAX.into()),
            // JSON of many languages loses digits beyond 53 bits: a decimal string is accepted too.
            Self::S64 => json!({ "oneOf": [
                { "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX },
                { "type": "string", "pattern": "^-?[0-9]+$" },
            ] }),
            Self::U64 => json!({ "oneOf": [
                { "type": "integer", "minimum": 0, "maximum": u64::MAX },
                { "type": "string", "pattern": "^[0-9]+$" },
            ] }),
            Self::F32 => float("float"),
            Self::F64 => float("double"),
            Self::Char => {
                json!({ "type": "string", "minLength": 1, "maxLength": 2, "title": "one character" })
            }
            Self::String => json!({ "type": "string" }),
            Self::List(_) | Self::FixedList(..) if self.is_bytes() => {
                json!({ "title": "bytes", "oneOf": [
                single("/", &single("bytes", &json!({ "type": "string", "contentEncoding": "base64" }))),
                single("/", &json!({ "type": "string", "title": "CID" })),
                { "type": "array", "items": whole(0, 255) },
            ] })
            }
            Self::FixedList(element, length) => {
                json!({ "type": "array", "items": element.schema(), "minItems": length, "maxItems": length })
            }
            Self::Map(key, value) => {
                let pairs = json!({ "type": "array", "items": tuple([&**key, &**value]) });
                match **key {
                    Self::String => json!({ "oneOf": [
                        { "type": "object", "additionalProperties": value.schema() }, pairs,
                    ] }),
                    _ => pairs,
                }
            }
            Self::List(element) => {
                let list = json!({ "type": "array", "items": element.schema() });
                match self.pairs() {
                    Some(value) => {
                        json!({ "oneOf": [list, { "type": "object", "additionalProperties": value.schema() }] })
                    }
                    None => list,
                }
            }
            Self::Record(fields) => object(fields),
            Self::Tuple(types) => tuple(types.iter()),
            Self::Variant(cases) => {
                let case = |(name, ty): &(String, Option<Self>)| match ty {
                    Some(ty) => single(name, &ty.schema()),
                    None => json!({ "const": name }),
                };
                json!({ "oneOf": cases.iter().map(case).collect::<Vec<_>>() })
            }
            Self::Enum(names) => json!({ "enum": names }),
            Self::Flags(names) => {
                json!({ "type": "array", "items": { "enum": names }, "uniqueItems": true })
            }
            Self::Option(inner) if inner.can_be_null() => {
                json!({ "type": "array", "items": inner.schema(), "maxItems": 1 })
            }
            Self::Option(inner) => json!({ "oneOf": [{ "type": "null" }, inner.schema()] }),
            Self::Result { ok, err } => {
                let payload = |ty: &Option<Box<Self>>| {
                    ty.as_ref()
                        .map_or_else(|| json!({ "type": "null" }), |ty| ty.schema())
                };
                json!({ "oneOf": [single("ok", &payload(ok)), single("err", &payload(err))] })
            }
        }
    }
}

/// As many items as there are types.
fn tuple<'a>(types: impl IntoIterator<Item = &'a Type>) -> Json {
    let items: Vec<_> = types.into_iter().map(Type::schema).collect();
    json!({ "type": "array", "prefixItems": items, "minItems": items.len(), "maxItems": items.len() })
}

/// An object with these properties and no others; options may be left out.
fn object(fields: &[(String, Type)]) -> Json {
    let properties: serde_json::Map<_, _> = fields
        .iter()
        .map(|(name, ty)| (name.clone(), ty.schema()))
        .collect();
    let required: Vec<_> = fields
        .iter()
        .filter(|(_, ty)| !matches!(ty, Type::Option(_)))
        .map(|(name, _)| name)
        .collect();
    let order: Vec<_> = fields.iter().map(|(name, _)| name).collect();
    json!({
        "type": "object",
        "properties": properties,
        "propertyOrder": order,
        "required": required,
        "additionalProperties": false,
    })
}

/// An object with exactly this property.
fn single(key: &str, schema: &Json) -> Json {
    json!({ "type": "object", "properties": { key: schema }, "required": [key], "additionalProperties": false })
}
