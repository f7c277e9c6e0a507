//! What authors write, and what becomes of it.

mod forms;
mod inputs;
mod placeholders;
mod refusals;

use asterism_protocol::{
    Cid, Defaults, FunctionLookup, HTTP, Prepared, SimplifiedError, Value, blob_cid, prepare,
    value_of_json,
};

/// Functions of one component: `add`, `subtract` of two floats, `crop-image` of bytes and an integer, `sum` of a list,
/// `now` of nothing.
struct Math;

fn math() -> Cid {
    blob_cid(b"math")
}

impl FunctionLookup for Math {
    fn find(&self, func: &str, rsc: Option<Cid>) -> Result<(Cid, String), String> {
        match func.replace('_', "-").as_str() {
            name @ ("add" | "subtract" | "crop-image" | "sum" | "now") => {
                Ok((rsc.unwrap_or_else(math), name.into()))
            }
            _ => Err(format!(
                "no component has a function `{func}`, did you mean `add`?"
            )),
        }
    }

    fn canonical(
        &self,
        _component: Cid,
        func: &str,
        args: Vec<Value>,
    ) -> Result<Vec<Value>, String> {
        let arity = match func {
            "now" => 0,
            "sum" => 1,
            _ => 2,
        };
        if args.len() != arity {
            return Err(format!(
                "args: `{func}` takes {arity} arguments, {} were given",
                args.len()
            ));
        }
        let float = |(index, arg): (usize, Value)| match arg {
            Value::Integer(n) if func != "crop-image" => Ok(Value::Float(n as f64)),
            Value::String(_) => Err(format!("args[{index}]: a string is not a number")),
            other => Ok(other),
        };
        args.into_iter().enumerate().map(float).collect()
    }

    fn reads_files(&self, component: Cid) -> bool {
        component != blind()
    }

    fn has_effect(&self, component: Cid, effect: &str) -> bool {
        component != blind() && effect == HTTP
    }
}

/// A component that imports no file system, and nothing that would have an effect.
fn blind() -> Cid {
    blob_cid(b"blind")
}

fn prepared(json: &str) -> Result<Prepared, SimplifiedError> {
    let document = value_of_json(json.as_bytes()).expect("the test's text is JSON");
    prepare(&document, &Math, &Defaults::default())
}

#[track_caller]
fn check_refused(json: &str, message: &str) {
    assert_eq!(
        prepared(json).expect_err("it has a mistake").to_string(),
        message
    );
}

const ADD_SUBTRACT: &str = r#"{"tasks":[
    {"run":{"name":"add","input":{"func":"add","args":[3.1,5.2]}}},
    {"run":{"name":"subtract","input":{"func":"subtract","args":["{{needs.add.output}}",4.4]}}}]}"#;

/// Knows no function: a full workflow must not ask it.
struct Nothing;

impl FunctionLookup for Nothing {
    fn find(&self, _func: &str, _rsc: Option<Cid>) -> Result<(Cid, String), String> {
        Err("nothing is known".into())
    }

    fn canonical(
        &self,
        _component: Cid,
        _func: &str,
        _args: Vec<Value>,
    ) -> Result<Vec<Value>, String> {
        Err("nothing is known".into())
    }
}
