//! What a form asks for, read from the JSON Schema of a function's arguments. Pure.

use serde_json::Value as Json;

/// A parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// How it is asked for.
    pub kind: Kind,
    /// May it be left empty?
    pub optional: bool,
}

/// How a value is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Yes or no.
    Bool,
    /// A whole number between two, as text: 64 bits are more than JavaScript's numbers hold.
    Whole {
        /// The least.
        min: String,
        /// The greatest.
        max: String,
    },
    /// Any number.
    Number,
    /// Text.
    Text,
    /// One of these.
    Choice(Vec<String>),
    /// A file, or text as bytes.
    Bytes,
    /// Anything else, as JSON.
    Json,
}

/// The parameters of a function, in order.
#[must_use]
pub fn fields_of(schema: &str) -> Vec<Field> {
    let schema: Json = serde_json::from_str(schema).unwrap_or_default();
    let Some(properties) = schema["properties"].as_object() else {
        return Vec::new();
    };
    let order = schema["propertyOrder"].as_array();
    let names: Vec<&str> = match order {
        Some(order) => order.iter().filter_map(Json::as_str).collect(),
        None => properties.keys().map(String::as_str).collect(),
    };
    let fields = names.into_iter().filter_map(|name| {
        let (kind, optional) = kind_of(properties.get(name)?);
        Some(Field {
            name: name.to_owned(),
            kind,
            optional,
        })
    });
    fields.collect()
}

fn kind_of(schema: &Json) -> (Kind, bool) {
    if let Some(names) = schema["enum"].as_array() {
        let names: Option<Vec<String>> = names
            .iter()
            .map(|name| name.as_str().map(str::to_owned))
            .collect();
        return (names.map_or(Kind::Json, Kind::Choice), false);
    }
    if let Some(branches) = schema["oneOf"].as_array() {
        if schema["title"] == "bytes" {
            return (Kind::Bytes, false);
        }
        if let [null, inner] = branches.as_slice()
            && null["type"] == "null"
        {
            return (kind_of(inner).0, true);
        }
        // Numbers have a second form for what JSON's numbers cannot hold.
        return match branches.first().map(|first| &first["type"]) {
            Some(Json::String(name)) if name == "number" || name == "integer" => {
                kind_of(&branches[0])
            }
            _ => (Kind::Json, false),
        };
    }
    let bound = |key: &str| {
        schema[key]
            .as_number()
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    let kind = match schema["type"].as_str() {
        Some("boolean") => Kind::Bool,
        Some("integer") => Kind::Whole {
            min: bound("minimum"),
            max: bound("maximum"),
        },
        Some("number") => Kind::Number,
        Some("string") => Kind::Text,
        _ => Kind::Json,
    };
    (kind, false)
}

impl Field {
    /// The argument as JSON text; bytes come as links and are not written here.
    ///
    /// # Errors
    /// What is wrong with it, for the person who wrote it.
    pub fn json_of(&self, written: &str) -> Result<String, String> {
        let name = &self.name;
        if written.is_empty() && self.optional {
            return Ok("null".to_owned());
        }
        match &self.kind {
            Kind::Text | Kind::Choice(_) => Ok(Json::String(written.to_owned()).to_string()),
            Kind::Bool => Ok((written == "true").to_string()),
            Kind::Whole { min, max } => match written.trim().parse::<i128>() {
                Ok(number)
                    if min.parse().is_ok_and(|min: i128| number < min)
                        || max.parse().is_ok_and(|max: i128| number > max) =>
                {
                    Err(format!("{name}: {number} is not from {min} to {max}"))
                }
                Ok(number) => Ok(number.to_string()),
                Err(_) => Err(format!("{name}: a whole number is wanted")),
            },
            Kind::Number => match written.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(written.trim().to_owned()),
                Ok(number) if number.is_nan() => Ok("\"NaN\"".to_owned()),
                Ok(_) if written.contains(|c: char| c.is_ascii_digit()) => {
                    Err(format!("{name}: {written} is more than a number can be"))
                }
                Ok(number) => Ok(if number > 0.0 {
                    "\"Infinity\""
                } else {
                    "\"-Infinity\""
                }
                .to_owned()),
                Err(_) => Err(format!("{name}: a number is wanted")),
            },
            Kind::Json | Kind::Bytes => {
                match serde_json::from_str::<serde::de::IgnoredAny>(written) {
                    Ok(_) => Ok(written.to_owned()),
                    Err(error) => Err(format!("{name}: not JSON: {error}")),
                }
            }
        }
        .and_then(|text| {
            // `.5`, `+1` and `1.` are numbers to people and not to JSON.
            if matches!(self.kind, Kind::Number)
                && serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err()
            {
                let number: f64 = text
                    .parse()
                    .map_err(|_| format!("{name}: a number is wanted"))?;
                return Ok(Json::from(number).to_string());
            }
            Ok(text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str, expect: &[(&str, Kind, bool)]) {
        let found: Vec<_> = fields_of(schema)
            .into_iter()
            .map(|field| (field.name, field.kind, field.optional))
            .collect();
        let expect: Vec<_> = expect
            .iter()
            .map(|(name, kind, optional)| ((*name).to_owned(), kind.clone(), *optional))
            .collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn parameters_keep_their_order() {
        let schema = r#"{"type":"object","propertyOrder":["b","a"],"properties":{
            "a":{"type":"string"},
            "b":{"oneOf":[{"type":"number","format":"double"},{"enum":["NaN"]}]}}}"#;
        check(
            schema,
            &[("b", Kind::Number, false), ("a", Kind::Text, false)],
        );
    }

    #[test]
    fn every_kind_is_asked_for_in_its_way() {
        let schema = r#"{"properties":{
            "a":{"type":"boolean"},
            "b":{"type":"integer","minimum":0,"maximum":18446744073709551615},
            "c":{"enum":["red","green"]},
            "d":{"title":"bytes","oneOf":[{},{}]},
            "e":{"oneOf":[{"type":"null"},{"type":"string"}]},
            "f":{"type":"array"}}}"#;
        let whole = Kind::Whole {
            min: "0".into(),
            max: "18446744073709551615".into(),
        };
        check(
            schema,
            &[
                ("a", Kind::Bool, false),
                ("b", whole, false),
                ("c", Kind::Choice(vec!["red".into(), "green".into()]), false),
                ("d", Kind::Bytes, false),
                ("e", Kind::Text, true),
                ("f", Kind::Json, false),
            ],
        );
    }

    #[test]
    fn what_people_write_becomes_json() {
        let check = |kind, written: &str, expect: Result<&str, ()>| {
            let field = Field {
                name: "x".into(),
                kind,
                optional: false,
            };
            assert_eq!(
                field.json_of(written).map_err(drop).as_deref(),
                expect.as_ref().map(|text| *text).map_err(|()| &())
            );
        };
        check(Kind::Number, ".5", Ok("0.5"));
        check(Kind::Number, "3.1", Ok("3.1"));
        check(Kind::Number, "NaN", Ok("\"NaN\""));
        check(Kind::Number, "three", Err(()));
        check(Kind::Number, "-inf", Ok("\"-Infinity\""));
        check(Kind::Number, "1e400", Err(()));
        let byte = |written, expect| {
            let (min, max) = ("0".into(), "255".into());
            check(Kind::Whole { min, max }, written, expect);
        };
        byte("255", Ok("255"));
        byte("256", Err(()));
        byte("-1", Err(()));
        check(
            Kind::Whole {
                min: String::new(),
                max: String::new(),
            },
            "18446744073709551615",
            Ok("18446744073709551615"),
        );
        check(Kind::Text, "a \"b\"", Ok(r#""a \"b\"""#));
        check(Kind::Json, "[1,", Err(()));
    }
}
