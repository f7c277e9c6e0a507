//! Functions found by name among several components.

use asterism_component::{Component, Function, Shelf, Shelved, Type, inspect};
use asterism_protocol::{
    Cid, Effects, FunctionLookup as _, blob_cid, mistakes, prepare, to_value, value_of_json,
    view::{ComponentView, Determinism},
};

/// A component with an exported function of each name; `salt` makes it another one.
fn put(shelf: &mut Shelf, name: &str, functions: &[&str], salt: &str) -> Cid {
    let functions: Vec<String> = functions
        .iter()
        .map(|function| {
            format!(
                r#"(func $f{0} (result u32) (canon lift (core func $i "f"))) (export "{function}" (func $f{0}))"#,
                function.replace(['/', ':', '#'], "_")
            )
        })
        .collect();
    let text = format!(
        r#"(component (core module $m (func (export "f") (result i32) i32.const 1) (@custom "salt" "{salt}"))
            (core instance $i (instantiate $m)) {})"#,
        functions.join("\n")
    );
    let bytes = wat::parse_str(&text).expect("the text of the test is right");
    let component = inspect(&bytes).expect("it is a component");
    put_inspected(shelf, name, component, &bytes)
}

fn put_inspected(shelf: &mut Shelf, name: &str, component: Component, bytes: &[u8]) -> Cid {
    let cid = blob_cid(bytes);
    shelf.add(Shelved {
        component,
        view: ComponentView {
            cid,
            name: name.to_owned(),
            bytes: bytes.len() as u64,
            determinism: Determinism::Pure,
            effects: Effects::new(),
            functions: Vec::new(),
        },
        reads_files: false,
    });
    cid
}

#[test]
fn a_bare_name_is_of_the_last_and_a_whole_one_of_its_component() {
    let mut shelf = Shelf::default();
    let first = put(&mut shelf, "math", &["add", "halve"], "1");
    let other = put(&mut shelf, "team/math", &["add"], "2");
    let of = |shelf: &Shelf, func: &str| shelf.find(func, None);
    let add = |cid| Ok((cid, "add".to_owned()));
    assert_eq!(of(&shelf, "add"), add(other));
    assert_eq!(of(&shelf, "math/add"), add(first));
    assert_eq!(of(&shelf, "team/math/add"), add(other));
    assert_eq!(of(&shelf, &format!("{first}/add")), add(first));
    // Of those with one name the last, so that what was mended is called.
    let mended = put(&mut shelf, "math", &["add"], "3");
    assert_eq!(of(&shelf, "math/add"), add(mended));
    assert_eq!(of(&shelf, &format!("{first}/add")), add(first));
    assert_eq!(
        of(&shelf, "math/halve"),
        Ok((first, "halve".to_owned())),
        "the older one still has it"
    );
}

#[test]
fn the_longest_name_of_a_component_is_meant() {
    let mut shelf = Shelf::default();
    let team = put(&mut shelf, "team", &["add"], "1");
    let math = put(&mut shelf, "team/math", &["add"], "2");
    let found = |func: &str| shelf.find(func, None).map(|(cid, _)| cid);
    assert_eq!(found("team/math/add"), Ok(math));
    assert_eq!(found("team/add"), Ok(team));
}

#[test]
fn a_component_is_the_last_of_its_name_that_has_the_function() {
    let mut shelf = Shelf::default();
    let first = put(&mut shelf, "team/math", &["add", "halve"], "1");
    let last = put(&mut shelf, "team/math", &["add"], "2");
    let of = |name: &str, func| shelf.component(name, func);
    assert_eq!(of("team/math", None), Some(last));
    assert_eq!(of("team/math", Some("add")), Some(last));
    assert_eq!(of("team/math", Some("halve")), Some(first));
    assert_eq!(of("team/math", Some("double")), Some(last), "for the error");
    assert_eq!(of(&first.to_string(), Some("add")), Some(first));
    assert_eq!(of("math", Some("add")), None);
}

#[test]
fn a_cid_is_never_a_name() {
    let mut shelf = Shelf::default();
    let first = put(&mut shelf, "math", &["add"], "1");
    put(&mut shelf, &first.to_string(), &["add"], "2");
    let found = shelf.find(&format!("{first}/add"), None);
    assert_eq!(found, Ok((first, "add".to_owned())));
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let mut shelf = Shelf::default();
    let told = |shelf: &Shelf, func: &str, rsc| shelf.find(func, rsc).expect_err("it is not there");
    assert_eq!(
        told(&shelf, "add", None),
        "no component here exports `add`: none was added yet"
    );
    let math = put(&mut shelf, "math", &["add", "halve"], "1");
    put(&mut shelf, "text", &["upper"], "2");
    assert_eq!(
        told(&shelf, "text/uper", None),
        "component `text` exports no `uper`, did you mean `upper`?"
    );
    assert_eq!(
        told(&shelf, "text/add", None),
        "component `text` exports no `add`; there are upper"
    );
    assert_eq!(
        told(&shelf, "maths/add", None),
        "no component here exports `maths/add`, did you mean `math/add`?"
    );
    assert_eq!(
        told(&shelf, "ad", None),
        "no component here exports `ad`, did you mean `add`? `math` exports it"
    );
    assert_eq!(
        told(&shelf, "something-else", None),
        "no component here exports `something-else`; there are text/upper, math/add, math/halve"
    );
    assert_eq!(
        told(&shelf, "upper", Some(math)),
        format!("component {math} exports no `upper`; there are add, halve")
    );
    let absent = blob_cid(b"absent");
    assert_eq!(
        told(&shelf, "add", Some(absent)),
        format!("component {absent} is not here: add it, and then do this again")
    );
}

#[test]
fn a_promise_that_cannot_be_kept_is_told_with_both_ends() {
    let function = |name: &str, param: Type, result: Type| Function {
        name: name.to_owned(),
        params: vec![("a".to_owned(), param)],
        result: Some(result),
    };
    let mut shelf = Shelf::default();
    let list = Type::List(Box::new(Type::U32));
    let component = Component {
        functions: vec![
            function("shout", Type::String, Type::String),
            function("sum", list, Type::F64),
        ],
        imports: Vec::new(),
        import_functions: Vec::new(),
    };
    let cid = put_inspected(&mut shelf, "texts", component, b"texts");
    let told = |text: &str| {
        let document = value_of_json(text.as_bytes()).expect("the text of the test is JSON");
        let told = mistakes(&document, &shelf);
        told.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let never_fits = "the output of task `loud` (`shout(a: string) -> string`) never fits u32, which `sum(a: list<u32>) -> f64` takes here";
    // Tasks may stand in any order, and a promise deep in a value.
    assert_eq!(
        told(
            r#"{"tasks":[{"run":{"name":"all","input":{"func":"sum","args":[[1,"{{needs.loud.output}}"]]}}},
                {"run":{"name":"loud","input":{"func":"shout","args":["x"]}}}]}"#
        ),
        [format!(
            "tasks[0].run.input.args[0][1] (task `all`): {never_fits}"
        )]
    );
    let fine = |first: &str, second: &str, value: &str| {
        format!(
            r#"{{"tasks":[{{"run":{{"name":"a","input":{{"func":"{first}","args":[{value}]}}}}}},
                {{"run":{{"name":"b","input":{{"func":"{second}","args":["{{{{needs.a.output}}}}"]}}}}}}]}}"#
        )
    };
    assert_eq!(told(&fine("shout", "shout", "\"x\"")), [""; 0]);
    // A float may be NaN, which is written as a text: nothing is sure.
    assert_eq!(told(&fine("sum", "shout", "[1]")), [""; 0]);
    // In full form, where tasks have no names.
    let text = fine("shout", "sum", "\"x\"");
    let document = value_of_json(text.as_bytes()).expect("the text of the test is JSON");
    let prepared = prepare(&document, &shelf, &Default::default()).expect("it is well written");
    let full = to_value(&prepared.workflow);
    let told: Vec<_> = mistakes(&full, &shelf)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        told,
        [
            "tasks[1].run.input.args[0]: the output of tasks[0] (`shout(a: string) -> string`) never fits list<u32>, which \
          `sum(a: list<u32>) -> f64` takes here"
        ]
    );
    assert!(
        prepared
            .workflow
            .tasks
            .iter()
            .all(|task| task.run.component() == Ok(cid))
    );
}
