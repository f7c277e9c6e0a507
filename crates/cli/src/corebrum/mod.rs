//! Corebrum task files: what they say, and the workflow that it comes to.
//!
//! A file holds one task or a pipeline (`tasks`), with or without the wrapper `task_definition`, as YAML or JSON, in the
//! short form (`wasm_binary` or `wasm_source`, `function_name`, typed `inputs` and `outputs`) or the longer one
//! (`code_source`, `entry_point`, `wasm_config`, `input_schema`, `output_schema`, `resources`, `timeout_seconds`).

mod module;
mod schema;
mod values;

use std::path::Path;

use asterism_protocol::{Value, json_of};
use serde_json::{Map, Value as Json, json};

use self::values::{Kind, is_same};
pub(crate) use self::{
    module::{Fetch, Module},
    schema::Schema,
    values::{Fields, Given},
};
use crate::failure::Failure;

/// Most tasks of a pipeline: each is a step that somebody wrote by hand.
const TASKS_MAX: usize = 1_000;

/// A task as its author defined it.
pub(crate) struct Task {
    pub(crate) name: String,
    /// Where it stands in the file, for messages.
    pub(crate) place: String,
    pub(crate) module: Module,
    /// The function; none where the module has only one.
    pub(crate) function: Option<String>,
    inputs: Fields,
    pub(crate) outputs: Fields,
    input_schema: Option<Schema>,
    output_schema: Option<Schema>,
    /// In bytes.
    memory: Option<u64>,
    /// In milliseconds.
    time: Option<u64>,
}

/// Reads a task file; `folder` is where its paths begin.
///
/// # Errors
/// Something in it is missing, unknown or not of this kind: with its place.
pub(crate) fn tasks(document: &Json, folder: &Path) -> Result<Vec<Task>, Failure> {
    let (definition, place) = unwrapped(document, "");
    let definition = map(definition, &place)?;
    match definition.get("tasks") {
        None => Ok(vec![task(definition, &place, folder)?]),
        Some(Json::Array(tasks)) if tasks.is_empty() => {
            Err(mistake(&join(&place, "tasks"), "it has no task"))
        }
        Some(Json::Array(tasks)) if tasks.len() <= TASKS_MAX => {
            let tasks = tasks.iter().enumerate().map(|(index, inner)| {
                let place = format!("{}[{index}]", join(&place, "tasks"));
                let (inner, place) = unwrapped(inner, &place);
                task(map(inner, &place)?, &place, folder)
            });
            tasks.collect()
        }
        Some(Json::Array(tasks)) => Err(mistake(
            &join(&place, "tasks"),
            &format!("it has {} tasks, {TASKS_MAX} is the most", tasks.len()),
        )),
        Some(_) => Err(mistake(
            &join(&place, "tasks"),
            "it must be a list of tasks",
        )),
    }
}

/// The definition in its wrapper, or by itself.
fn unwrapped<'a>(document: &'a Json, place: &str) -> (&'a Json, String) {
    match document.get("task_definition") {
        Some(inner) => (inner, join(place, "task_definition")),
        None => (document, place.to_owned()),
    }
}

fn task(definition: &Map<String, Json>, place: &str, folder: &Path) -> Result<Task, Failure> {
    let logic_place = join(place, "compute_logic");
    let logic = match definition.get("compute_logic") {
        Some(logic) => map(logic, &logic_place)?,
        None => {
            let what = if definition.contains_key("run") {
                "this is a workflow: `asterism run` runs it"
            } else {
                "it is missing: it says what is computed"
            };
            return Err(mistake(&logic_place, what));
        }
    };
    let at = |name: &str| join(&logic_place, name);
    match text(logic, "type", &logic_place)?.as_deref() {
        Some("wasm") => {}
        Some(other) => {
            return Err(mistake(
                &at("type"),
                &format!("tasks of type `{other}` are not run here, only `wasm`"),
            )
            .hint("build the code into a component with `asterism fn build`"));
        }
        None => return Err(mistake(&at("type"), "it is missing: write `type: wasm`")),
    }
    // The longer form says it of the logic, the shorter of the task.
    let either = |name: &str| {
        let own = logic.get(name).map(|value| (value, at(name)));
        own.or_else(|| Some((definition.get(name)?, join(place, name))))
    };
    let config = either("wasm_config");
    let config = match &config {
        Some((value, place)) => Some((map(value, place)?, place.clone())),
        None => None,
    };
    if let Some((config, place)) = &config {
        for (name, why) in [
            (
                "allow_networking",
                "guests have no network: fetch before, and pass the bytes as an input",
            ),
            (
                "allow_file_system",
                "guests have no files: pass the bytes as an input",
            ),
        ] {
            if config.get(name).is_some_and(|value| *value == json!(true)) {
                return Err(mistake(&join(place, name), why));
            }
        }
    }
    let setting = |name: &str| {
        let (config, place) = config.as_ref()?;
        Some((config.get(name)?, join(place, name)))
    };
    let resources = definition.get("resources").and_then(Json::as_object);
    let resource = |name: &str| {
        let value = resources?.get(name)?;
        Some((value, join(&join(place, "resources"), name)))
    };
    let memory = match (setting("memory_limit"), resource("memory_mb")) {
        (Some((value, place)), _) => Some(values::bytes(value, &place)?),
        (None, Some((value, place))) => {
            Some(values::number(value, &place)?.saturating_mul(1 << 20))
        }
        (None, None) => None,
    };
    let seconds = either("timeout_seconds").or_else(|| resource("timeout_seconds"));
    let time = match (setting("timeout_ms"), seconds) {
        (Some((value, place)), _) => Some(values::number(value, &place)?),
        (None, Some((value, place))) => Some(values::number(value, &place)?.saturating_mul(1_000)),
        (None, None) => None,
    };
    let schema = |name: &str| {
        let read = |(json, place): (&Json, String)| {
            Schema::read(json)
                .map_err(|why| mistake(&place, &format!("it is not a JSON Schema: {why}")))
        };
        either(name).map(read).transpose()
    };
    let function = match text(logic, "function_name", &logic_place)? {
        Some(name) => Some(name),
        None => text(logic, "entry_point", &logic_place)?,
    };
    let name = text(definition, "name", place)?;
    Ok(Task {
        name: name.unwrap_or_else(|| "task".to_owned()),
        place: place.to_owned(),
        module: Module::read(logic, &logic_place, folder)?,
        function,
        inputs: Fields::read(definition.get("inputs"), &join(place, "inputs"))?,
        outputs: Fields::read(definition.get("outputs"), &join(place, "outputs"))?,
        input_schema: schema("input_schema")?,
        output_schema: schema("output_schema")?,
        memory,
        time,
    })
}

impl Task {
    /// The arguments for a function of these parameters.
    ///
    /// # Errors
    /// An input is missing, of another type, or not as its schema says.
    pub(crate) fn args(
        &self,
        params: &[(String, asterism_component::Type)],
        given: &Given<'_>,
    ) -> Result<Vec<Json>, Failure> {
        // What a task before comes to is not known yet.
        if let (Some(schema), None) = (&self.input_schema, given.before) {
            schema
                .check(&Json::Object(given.input.clone()), "input")
                .map_err(Failure::invalid)?;
        }
        values::args(self, params, given)
    }

    /// Is this one of its inputs?
    pub(crate) fn takes(&self, name: &str, params: &[(String, asterism_component::Type)]) -> bool {
        let by_schema = self.input_schema.as_ref().and_then(Schema::properties);
        self.inputs.has(name)
            || by_schema.is_some_and(|properties| properties.contains_key(name))
            || (self.inputs.len() == 0
                && (params.len() <= 1 || params.iter().any(|(param, _)| is_same(param, name))))
    }

    /// What came of it, as its outputs and its schema say: text that they call anything but text is read as JSON.
    ///
    /// # Errors
    /// It is something else.
    pub(crate) fn output(&self, value: &Value) -> Result<Json, String> {
        let value: Json = serde_json::from_str(&json_of(value)).map_err(|e| e.to_string())?;
        let is_json = match self.outputs.single() {
            Some((_, kind)) => !matches!(kind, Kind::String | Kind::Any),
            None => self.outputs.len() > 1,
        };
        let is_json = is_json
            || self
                .output_schema
                .as_ref()
                .is_some_and(Schema::is_of_object);
        let value = match (&value, self.outputs.single()) {
            (Json::String(text), _) if is_json => serde_json::from_str(text).unwrap_or(value),
            // A core module has numbers for truth.
            (Json::Number(number), Some((_, Kind::Boolean))) => json!(number.as_f64() != Some(0.0)),
            _ => value,
        };
        let named = |name: &str| match &value {
            Json::Object(object) if object.contains_key(name) => object.clone(),
            _ => Map::from_iter([(name.to_owned(), value.clone())]),
        };
        match (self.outputs.single(), &value) {
            // The object itself, or one that has it under its name.
            (Some((_, Kind::Object)), Json::Object(_)) => {}
            (Some((name, _)), _) => self.outputs.check(&named(name), "output")?,
            (None, Json::Object(object)) => self.outputs.check(object, "output")?,
            (None, _) if self.outputs.len() == 0 => {}
            (None, _) => return Err(format!("output: {value} is not of type object")),
        }
        if let Some(schema) = &self.output_schema {
            let properties = schema
                .properties()
                .filter(|properties| properties.len() == 1);
            match properties.and_then(|properties| properties.keys().next()) {
                // One value for a schema of one property: that property is what it means.
                Some(name) if schema.is_of_object() => {
                    schema.check(&Json::Object(named(name)), "output")?;
                }
                _ => schema.check(&value, "output")?,
            }
        }
        Ok(value)
    }

    /// `meta` of the workflow's task.
    pub(crate) fn meta(&self) -> Map<String, Json> {
        let mut meta = Map::new();
        if let Some(memory) = self.memory {
            meta.insert("memory".to_owned(), json!(memory));
        }
        if let Some(time) = self.time {
            meta.insert("time".to_owned(), json!(time));
        }
        meta
    }
}

fn mistake(place: &str, what: &str) -> Failure {
    if place.is_empty() {
        Failure::invalid(what)
    } else {
        Failure::invalid(format!("{place}: {what}"))
    }
}

fn join(place: &str, name: &str) -> String {
    if place.is_empty() {
        name.to_owned()
    } else {
        format!("{place}.{name}")
    }
}

fn map<'a>(value: &'a Json, place: &str) -> Result<&'a Map<String, Json>, Failure> {
    let what = if place.is_empty() { "the file" } else { "it" };
    value
        .as_object()
        .ok_or_else(|| mistake(place, &format!("{what} must be a map of names and values")))
}

fn text(map: &Map<String, Json>, name: &str, place: &str) -> Result<Option<String>, Failure> {
    match map.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(mistake(&join(place, name), "it must be a text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(document: &Json, said: &str) {
        let failure = tasks(document, Path::new("")).err().expect("it is refused");
        assert!(failure.reason().contains(said), "{}", failure.reason());
    }

    #[test]
    fn both_forms_and_both_wrappings_are_read() {
        let short = json!({ "name": "factorial", "inputs": [{ "name": "number", "type": "integer" }],
            "compute_logic": { "type": "wasm", "wasm_binary": "AGFzbQ==", "function_name": "factorial" } });
        let long = json!({ "task_definition": { "name": "factorial", "compute_logic": { "type": "wasm", "entry_point": "factorial",
            "code_source": { "type": "file", "path": "a.wasm" }, "wasm_config": { "memory_limit": "64MB", "timeout_ms": 5000 } },
            "resources": { "memory_mb": 1 } } });
        for document in [short.clone(), json!({ "task_definition": short })] {
            let task = tasks(&document, Path::new("")).unwrap().remove(0);
            assert_eq!(task.function.as_deref(), Some("factorial"));
            assert!(task.inputs.has("number"));
        }
        let task = tasks(&long, Path::new("/tasks")).unwrap().remove(0);
        assert_eq!(task.meta()["memory"], 64 << 20);
        assert_eq!(task.meta()["time"], 5000);
    }

    #[test]
    fn mistakes_name_their_place() {
        check(&json!([]), "must be a map");
        check(&json!({}), "compute_logic: it is missing");
        check(&json!({ "tasks": [] }), "tasks: it has no task");
        check(&json!({ "tasks": 4 }), "tasks: it must be a list");
        check(
            &json!({ "compute_logic": { "type": "docker" } }),
            "compute_logic.type: tasks of type `docker`",
        );
        check(
            &json!({ "compute_logic": { "type": "wasm" } }),
            "compute_logic: nothing says which module",
        );
        check(
            &json!({ "compute_logic": { "type": "wasm", "wasm_binary": "a-b" } }),
            "compute_logic.wasm_binary: it is not base64",
        );
        check(
            &json!({ "task_definition": { "compute_logic": { "type": "wasm", "wasm_source": { "type": "ftp" } } } }),
            "task_definition.compute_logic.wasm_source.type",
        );
        let with = |config: Json| json!({ "compute_logic": { "type": "wasm", "wasm_binary": "AGFzbQ==", "wasm_config": config } });
        check(
            &with(json!({ "allow_networking": true })),
            "wasm_config.allow_networking: guests have no network",
        );
        check(
            &with(json!({ "memory_limit": "lots" })),
            "wasm_config.memory_limit",
        );
        check(&with(json!({ "timeout_ms": -1 })), "wasm_config.timeout_ms");
        check(
            &json!({ "tasks": [{ "task_definition": { "compute_logic": 3 } }] }),
            "tasks[0].task_definition.compute_logic: it must be a map",
        );
    }
}
