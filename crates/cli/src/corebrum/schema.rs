//! JSON Schema, for what a task takes and gives.

use boon::{Compiler, Draft, SchemaIndex, Schemas, SchemeUrlLoader, ValidationError};
use serde_json::{Map, Value as Json};

/// Most mistakes that are said at once.
const SAID_MAX: usize = 8;

/// What the schema is called while it is read: references within it begin here.
const HERE: &str = "https://task.invalid/schema";

/// A schema that stands by itself: references to elsewhere are followed nowhere.
pub(crate) struct Schema {
    compiled: Schemas,
    index: SchemaIndex,
    json: Json,
}

impl Schema {
    /// # Errors
    /// It is no JSON Schema, or refers to something outside.
    pub(super) fn read(json: &Json) -> Result<Self, String> {
        let said = |error: boon::CompileError| {
            let said = format!("{error:#}").replace(&format!("{HERE}#"), "the schema");
            said.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        // A loader that knows no kind of address: no file is read, nothing is fetched.
        compiler.use_loader(Box::new(SchemeUrlLoader::new()));
        compiler.add_resource(HERE, json.clone()).map_err(said)?;
        let mut compiled = Schemas::new();
        let index = compiler.compile(HERE, &mut compiled).map_err(said)?;
        let json = json.clone();
        Ok(Self {
            compiled,
            index,
            json,
        })
    }

    /// Says all that is not as the schema wants it, each with its place below `what`.
    pub(super) fn check(&self, value: &Json, what: &str) -> Result<(), String> {
        let Err(error) = self.compiled.validate(value, self.index) else {
            return Ok(());
        };
        let mut wrong = Vec::new();
        gather(&error, what, &mut wrong);
        Err(wrong.join("; "))
    }

    /// Does it want an object?
    pub(super) fn is_of_object(&self) -> bool {
        self.json["type"] == "object"
    }

    /// What it says of an object's members.
    pub(super) fn properties(&self) -> Option<&Map<String, Json>> {
        self.json["properties"].as_object()
    }
}

/// The innermost mistakes: those around them only say that there are some.
fn gather(error: &ValidationError<'_, '_>, what: &str, wrong: &mut Vec<String>) {
    if wrong.len() >= SAID_MAX {
        return;
    }
    if error.causes.is_empty() {
        let place = error.instance_location.to_string().replace('/', ".");
        wrong.push(format!("{what}{place}: {}", error.kind));
    }
    for cause in &error.causes {
        gather(cause, what, wrong);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_all_at_once() {
        let schema = json!({
            "type": "object",
            "properties": {
                "number": { "type": "integer", "minimum": 0, "maximum": 20 },
                "names": { "type": "array", "items": { "type": "string" } }
            },
            "required": ["number"]
        });
        let schema = Schema::read(&schema).unwrap();
        let check = |value: &Json, said: &str| {
            assert_eq!(schema.check(value, "input").err().unwrap_or_default(), said);
        };
        check(&json!({ "number": 6 }), "");
        check(
            &json!({ "number": 21 }),
            "input.number: must be <=20, but got 21",
        );
        check(&json!({}), "input: missing properties 'number'");
        check(
            &json!({ "number": -1, "names": ["a", 2] }),
            "input.names.1: want string, but got number; input.number: must be >=0, but got -1",
        );
    }

    #[test]
    fn what_is_no_schema_or_refers_to_elsewhere_is_refused() {
        let check = |schema: &Json, said: &str| {
            let error = Schema::read(schema).err().unwrap_or_default();
            assert!(error.contains(said), "{schema}: {error}");
        };
        check(&json!({ "type": 3 }), "/type");
        check(
            &json!({ "$ref": "https://example.org/s.json" }),
            "example.org",
        );
        check(&json!({ "$ref": "file:///etc/hostname" }), "/etc/hostname");
        check(&json!({ "pattern": "(" }), "pattern");
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = Schema::read(&json!({ "$ref": "#" })).unwrap();
        assert!(schema.check(&json!({}), "input").is_err());
    }
}
