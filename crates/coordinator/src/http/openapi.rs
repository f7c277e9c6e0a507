//! What `/openapi.json` and `/api` tell: the routes describe themselves where they are made, so none can be forgotten.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

/// What is said of one operation.
pub(super) struct About {
    tag: &'static str,
    summary: &'static str,
    details: &'static str,
    queries: Vec<(&'static str, &'static str, &'static str)>,
    headers: Vec<(&'static str, &'static str)>,
    body: Option<(&'static str, Json)>,
    answers: Vec<(u16, &'static str, &'static [&'static str])>,
}

const JSON: &str = "application/json";

impl About {
    pub(super) fn new(tag: &'static str, summary: &'static str) -> Self {
        Self {
            tag,
            summary,
            details: "",
            queries: Vec::new(),
            headers: Vec::new(),
            body: None,
            answers: Vec::new(),
        }
    }

    pub(super) fn details(mut self, details: &'static str) -> Self {
        self.details = details;
        self
    }

    /// A parameter of the query: name, type, meaning.
    pub(super) fn query(
        mut self,
        name: &'static str,
        ty: &'static str,
        text: &'static str,
    ) -> Self {
        self.queries.push((name, ty, text));
        self
    }

    /// A header that is looked at.
    pub(super) fn header(mut self, name: &'static str, text: &'static str) -> Self {
        self.headers.push((name, text));
        self
    }

    /// The body: what it is, and its content by media type.
    pub(super) fn body(mut self, text: &'static str, content: Json) -> Self {
        self.body = Some((text, content));
        self
    }

    /// An answer of this status and these media types.
    pub(super) fn answer(
        mut self,
        status: u16,
        text: &'static str,
        media_types: &'static [&'static str],
    ) -> Self {
        self.answers.push((status, text, media_types));
        self
    }

    /// The one answer of operations that have JSON to say.
    pub(super) fn json(self, text: &'static str) -> Self {
        self.answer(200, text, &[JSON])
    }

    fn operation(self, method: &str, path: &str) -> Json {
        let mut parameters: Vec<Json> = parameters_of(path)
            .map(|(name, text)| json!({ "name": name, "in": "path", "required": true, "description": text, "schema": { "type": "string" } }))
            .collect();
        parameters.extend(self.queries.iter().map(|(name, ty, text)| {
            json!({ "name": name, "in": "query", "description": text, "schema": { "type": ty } })
        }));
        parameters.extend(self.headers.iter().map(|(name, text)| {
            json!({ "name": name, "in": "header", "description": text, "schema": { "type": "string" } })
        }));
        let mut responses = Map::new();
        for (status, text, media_types) in &self.answers {
            let content: Map<String, Json> = media_types
                .iter()
                .map(|media_type| ((*media_type).to_owned(), json!({})))
                .collect();
            let mut response = json!({ "description": text });
            if !content.is_empty() {
                response["content"] = Json::Object(content);
            }
            responses.insert(status.to_string(), response);
        }
        responses.insert(
            "default".to_owned(),
            json!({ "$ref": "#/components/responses/Error" }),
        );
        let words = path
            .split(['/', '{', '}', '.'])
            .filter(|word| !word.is_empty());
        let id = words.fold(method.to_owned(), |id, word| id + "-" + word);
        let mut operation = json!({
            "operationId": id,
            "tags": [self.tag],
            "summary": self.summary,
            "parameters": parameters,
            "responses": responses,
        });
        if !self.details.is_empty() {
            operation["description"] = json!(self.details);
        }
        if let Some((text, content)) = &self.body {
            operation["requestBody"] =
                json!({ "description": text, "required": true, "content": content });
        }
        operation
    }
}

fn parameters_of(path: &str) -> impl Iterator<Item = (&str, &'static str)> {
    path.split('/').filter_map(move |part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        let text = match name {
            "function" => "A function's name as WIT spells it, or in another spelling: `echo-bytes`, `echoBytes`, `ns:pkg/iface#name`",
            "component" => "A component's name or CID",
            "workflow" => "The CID of a workflow, or the number of a run",
            "task" => "A task's name, its place counted from 0, or the CID of its instruction",
            "executor" => "An executor's key (`did:key:…`), or its name if no other has it",
            "cid" => "A CID",
            other => unreachable!("nothing is said of the parameter {other} of {path}"),
        };
        Some((name, text))
    })
}

/// The operations, as they are collected.
#[derive(Default)]
pub(super) struct Paths(Map<String, Json>);

impl Paths {
    pub(super) fn add(&mut self, method: &str, path: &str, about: About) {
        let method = method.to_ascii_lowercase();
        let operation = about.operation(&method, path);
        let entry = self.0.entry(path).or_insert_with(|| json!({}));
        entry[method] = operation;
    }

    /// The OpenAPI document.
    pub(super) fn document(&self) -> Json {
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Asterism",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Workflows of WebAssembly components, computed by whoever has time. Every error has one form: a code for programs, a message for people, a hint where there is a remedy, details by name.",
            },
            "paths": self.0,
            "components": {
                "responses": { "Error": {
                    "description": "400 not understood, 401 for its submitter or the operator, 403 not for that page, 404 not here, 408 the body took too long, 409 too late, 413 too large, 422 a task failed or a component is refused, 429 full or too much of one (`Retry-After`), 502 and 504 given up or not in time, 503 stopping or in trouble",
                    "content": { JSON: { "schema": { "$ref": "#/components/schemas/Error" } } },
                } },
                "schemas": {
                    "Error": {
                        "type": "object",
                        "required": ["code", "message"],
                        "properties": {
                            "code": { "type": "string", "description": "One word in kebab-case" },
                            "message": { "type": "string" },
                            "hint": { "type": "string" },
                            "details": { "type": "object", "description": "Such as path, task, function, kind, error, logs, run" },
                        },
                    },
                    "Workflow": {
                        "type": "object",
                        "required": ["tasks"],
                        "properties": { "tasks": { "type": "array", "minItems": 1, "items": { "$ref": "#/components/schemas/Task" } } },
                    },
                    "Task": {
                        "type": "object",
                        "required": ["run"],
                        "properties": {
                            "run": {
                                "type": "object",
                                "required": ["input"],
                                "properties": {
                                    "name": { "type": "string", "description": "What other tasks call it in {{needs.<name>.output}}" },
                                    "input": {
                                        "type": "object",
                                        "required": ["func"],
                                        "properties": {
                                            "func": { "type": "string" },
                                            "args": { "type": "array" },
                                            "files": {
                                                "type": "object",
                                                "minProperties": 1,
                                                "additionalProperties": true,
                                                "description": "What the function finds in its file system, by path: a link to a blob, bytes, a text, or a promise of one",
                                            },
                                            "effects": {
                                                "type": "array",
                                                "minItems": 1,
                                                "items": { "const": "wasi:http" },
                                                "description": "What it may do to the world outside, where an executor offers it; never remembered but under a nonce",
                                            },
                                        },
                                    },
                                    "rsc": { "type": "string", "description": "ipfs://<CID of the component>; the one that exports the function without it" },
                                    "op": { "const": "wasm/run" },
                                    "nnc": { "type": "string" },
                                },
                            },
                            "meta": {
                                "type": "object",
                                "properties": {
                                    "memory": { "type": "integer", "description": "bytes" },
                                    "time": { "type": "integer", "description": "milliseconds" },
                                    "fuel": { "type": "integer" },
                                },
                            },
                            "cause": { "type": ["object", "null"] },
                            "prf": { "type": "array" },
                        },
                    },
                },
            },
        })
    }

    /// The same for people: a page without scripts.
    pub(super) fn page(&self) -> String {
        let mut sections: Vec<(&str, String)> = Vec::new();
        for (path, methods) in &self.0 {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                let tag = operation["tags"][0].as_str().unwrap_or_default();
                let html = operation_page(method, path, operation);
                match sections.iter_mut().find(|(name, _)| *name == tag) {
                    Some((_, section)) => section.push_str(&html),
                    None => sections.push((tag, html)),
                }
            }
        }
        let mut page = PAGE_HEAD.to_owned();
        for (tag, section) in sections {
            // Writing to a string cannot fail.
            let _ = write!(page, "<section><h2>{}</h2>{section}</section>", escape(tag));
        }
        page + "</main></body></html>"
    }
}

const PAGE_HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Asterism: API</title><style>\
    :root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:0}main{max-width:52rem;margin:auto;padding:1rem}\
    details{border:1px solid #8886;border-radius:.4rem;margin:.4rem 0;padding:.4rem .7rem}summary{cursor:pointer}\
    code{font-family:ui-monospace,monospace}b.method{display:inline-block;min-width:4.5em}table{border-collapse:collapse;width:100%}\
    td{border-top:1px solid #8884;padding:.25rem .6rem .25rem 0;vertical-align:top;overflow-wrap:anywhere}td:first-child{min-width:7em;width:30%}\
    code{overflow-wrap:anywhere}\
    </style></head><body><main><h1>Asterism: API</h1>\
    <p>The same for programs: <a href=\"/openapi.json\">/openapi.json</a>. Every error is \
    <code>{\"code\", \"message\", \"hint\", \"details\"}</code>.</p>";

fn operation_page(method: &str, path: &str, operation: &Json) -> String {
    let text = |value: &Json| escape(value.as_str().unwrap_or_default());
    let mut html = format!(
        "<details><summary><b class=\"method\">{}</b> <code>{}</code> {}</summary>",
        method.to_ascii_uppercase(),
        escape(path),
        text(&operation["summary"])
    );
    let mut rows = String::new();
    // Writing to a string cannot fail.
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let place = match parameter["in"].as_str() {
            Some("query") => "?",
            Some("header") => "header ",
            _ => "",
        };
        let _ = write!(
            rows,
            "<tr><td>{place}<code>{}</code></td><td>{}</td></tr>",
            text(&parameter["name"]),
            text(&parameter["description"])
        );
    }
    if let Some(body) = operation.get("requestBody") {
        let _ = write!(
            rows,
            "<tr><td>body</td><td>{}</td></tr>",
            text(&body["description"])
        );
    }
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        if status == "default" {
            continue;
        }
        let media_types = response["content"].as_object().into_iter().flatten();
        let media_types: Vec<String> = media_types
            .map(|(media_type, _)| format!("<code>{}</code>", escape(media_type)))
            .collect();
        let _ = write!(
            rows,
            "<tr><td>{status}</td><td>{} {}</td></tr>",
            text(&response["description"]),
            media_types.join(", ")
        );
    }
    let details = operation.get("description").map(text).unwrap_or_default();
    let _ = write!(html, "<p>{details}</p><table>{rows}</table></details>");
    html
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
