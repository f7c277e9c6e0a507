//! What a word means: a source that is built here, or a component that the coordinator has.

use std::path::Path;

use asterism_component::{Component, Function, Shelf, Shelved, outline};
use asterism_protocol::{Cid, from_json, nearest, view::ComponentView};

use crate::{
    build::{self, Built},
    client::Coordinator,
    console::Console,
    failure::{Doing as _, Exit, Failure},
};

/// A component, and where it is run.
pub(crate) struct Found {
    pub(super) name: String,
    pub(crate) cid: Cid,
    pub(super) bytes: usize,
    pub(crate) component: Component,
    /// Here; on the coordinator if it is none.
    pub(super) built: Option<Built>,
}

/// `c.wat/add` is the source `c.wat` and its function `add`, unless there is a file of that name. What is no source is
/// looked up on the coordinator as a whole: see [`meant`].
pub(super) fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((component, function))
            if !component.is_empty() && component != "." && !Path::new(text).exists() =>
        {
            (component, Some(function))
        }
        _ => (text, None),
    }
}

/// A source file is built; any other word is looked for on the coordinator, and then among the packages here. `function` is
/// the one that is wanted of it, if that is known; the function that the word itself names comes back.
pub(super) async fn find(
    text: &str,
    function: Option<&str>,
    options: &build::Options,
    coordinator: &Coordinator,
    console: &Console,
) -> Result<(Found, Option<String>), Failure> {
    let (source, named) = split(text);
    let named = named.map(str::to_owned);
    let path = Path::new(source);
    let has_ending = path.extension().is_some_and(|ending| {
        [
            "wasm", "wat", "ts", "js", "mjs", "mts", "py", "c", "rs", "toml",
        ]
        .iter()
        .any(|known| ending == *known)
    });
    // A project's folder mostly has the name of what is built of it: one word means what is built.
    let is_word = path.is_dir()
        && source
            .chars()
            .all(|c| c.is_alphanumeric() || "-_".contains(c));
    let is_file_name = has_ending || (path.exists() && !is_word);
    if is_file_name {
        return Ok((built(path, options, console).await?, named));
    }
    match look_up(text, function, coordinator).await {
        Err(_) if is_word && path.join("Cargo.toml").is_file() => built(path, options, console)
            .await
            .map(|built| (built, named)),
        Err(failure) if is_word => Err(failure.hint(format!("`./{source}` means the folder"))),
        found => found,
    }
    .doing(format_args!("find the component `{text}`"))
}

/// A component that is built of a source.
async fn built(
    source: &Path,
    options: &build::Options,
    console: &Console,
) -> Result<Found, Failure> {
    let built = build::build(source, options, console).await?;
    Ok(Found {
        name: built.name.clone(),
        cid: built.cid(),
        bytes: built.bytes.len(),
        component: built.component.clone(),
        built: Some(built),
    })
}

/// A component that the coordinator has, by its name or CID, with `function` if one of the name has it.
pub(crate) async fn find_there(
    name: &str,
    function: Option<&str>,
    coordinator: &Coordinator,
) -> Result<Found, Failure> {
    let shelf = shelf_of(components(coordinator).await?);
    match shelf.component(name, function) {
        Some(cid) => fetch(&shelf, cid, coordinator).await,
        None => Err(unknown(&shelf, name, coordinator)),
    }
}

/// What a word means on the coordinator: a component, and the function that the word itself names.
async fn look_up(
    text: &str,
    function: Option<&str>,
    coordinator: &Coordinator,
) -> Result<(Found, Option<String>), Failure> {
    let shelf = shelf_of(components(coordinator).await?);
    match meant(&shelf, text, function) {
        Some((cid, named)) => Ok((fetch(&shelf, cid, coordinator).await?, named)),
        None => Err(unknown(&shelf, text, coordinator)),
    }
}

/// `math/add` is what it is in a workflow, the `add` of `math`. A word that is no function is a component's name, which may have
/// slashes, too; and if it is not, what is before a slash may be one, whose functions are told then.
fn meant(shelf: &Shelf, text: &str, function: Option<&str>) -> Option<(Cid, Option<String>)> {
    if text.contains('/')
        && let Ok(found) = shelf.function(text)
    {
        return Some((found.component(), Some(found.function().name.clone())));
    }
    if let Some(cid) = shelf.component(text, function) {
        return Some((cid, None));
    }
    text.rmatch_indices('/').find_map(|(at, _)| {
        let (name, func) = (&text[..at], &text[at + 1..]);
        Some((shelf.component(name, Some(func))?, Some(func.to_owned())))
    })
}

/// The components as the coordinator looks functions up in them, which asks for names alone.
fn shelf_of(views: Vec<ComponentView>) -> Shelf {
    let mut shelf = Shelf::default();
    for view in views {
        let functions = view.functions.iter().map(|function| Function {
            name: function.name.clone(),
            params: Vec::new(),
            result: None,
        });
        let component = Component {
            functions: functions.collect(),
            ..Component::default()
        };
        shelf.add(Shelved {
            component,
            view,
            reads_files: true,
        });
    }
    shelf
}

fn unknown(shelf: &Shelf, text: &str, coordinator: &Coordinator) -> Failure {
    let views = shelf.views();
    let names = views.iter().map(|view| view.name.as_str());
    let failure = Failure::new(
        Exit::NotFound,
        format!(
            "the coordinator at {} has none of that name",
            coordinator.url()
        ),
    );
    let (before, _) = text.split_once('/').unwrap_or((text, ""));
    let meant = nearest(text, names.clone()).or_else(|| nearest(before, names));
    failure.hint(match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => {
            "`asterism fn list` lists what there is, `asterism fn add FILE` adds one".to_owned()
        }
    })
}

async fn fetch(shelf: &Shelf, cid: Cid, coordinator: &Coordinator) -> Result<Found, Failure> {
    let answer = coordinator.get(&format!("/blobs/{cid}"), &[]).await?;
    let component = outline(&answer.body).map_err(|refusal| Failure::other(refusal.to_string()))?;
    Ok(Found {
        name: shelf.name_of(cid).unwrap_or_default().to_owned(),
        cid,
        bytes: answer.body.len(),
        component,
        built: None,
    })
}

pub(super) async fn components(coordinator: &Coordinator) -> Result<Vec<ComponentView>, Failure> {
    let answer = coordinator.get("/components", &[]).await?;
    from_json("list of components", &answer.body).map_err(|error| {
        Failure::other(format!(
            "the answer of {} is not understood: {error}",
            coordinator.url()
        ))
    })
}

/// The function of this name, or what was probably meant.
pub(crate) fn function_of<'a>(
    component: &'a Component,
    name: &str,
) -> Result<&'a Function, Failure> {
    component.function(name).ok_or_else(|| {
        let names = || {
            component
                .functions
                .iter()
                .map(|function| function.name.as_str())
        };
        let bare = component.functions.iter().map(|function| function.path().1);
        let failure = Failure::new(Exit::NotFound, format!("the component exports no `{name}`"));
        match nearest(name, names().chain(bare)) {
            Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
            None => failure.hint(format!(
                "it exports {}",
                names().take(12).collect::<Vec<_>>().join(", ")
            )),
        }
    })
}

#[cfg(test)]
mod tests {
    use asterism_protocol::{
        Effects, blob_cid,
        view::{Determinism, FunctionView},
    };

    use super::*;

    fn view(name: &str, functions: &[&str], salt: &str) -> ComponentView {
        let functions = functions.iter().map(|name| FunctionView {
            name: (*name).to_owned(),
            signature: String::new(),
            schema: String::new(),
        });
        ComponentView {
            cid: blob_cid(salt.as_bytes()),
            name: name.to_owned(),
            bytes: 1,
            determinism: Determinism::Pure,
            effects: Effects::new(),
            functions: functions.collect(),
        }
    }

    #[test]
    fn words_mean_what_they_mean_in_a_workflow() {
        let shelf = shelf_of(vec![
            view("math", &["add", "halve"], "1"),
            view("team", &["list"], "2"),
            view("team/math", &["add", "ns:pkg/iface@1.0.0#crop-image"], "3"),
            view("math", &["add"], "4"),
        ]);
        let check = |text: &str, next: Option<&str>, expected: Option<(&str, Option<&str>)>| {
            let expected =
                expected.map(|(salt, func)| (blob_cid(salt.as_bytes()), func.map(str::to_owned)));
            assert_eq!(meant(&shelf, text, next), expected, "{text} {next:?}");
        };
        check("math", Some("add"), Some(("4", None)));
        check("math", Some("halve"), Some(("1", None)));
        check("math", Some("double"), Some(("4", None)));
        check("math/add", Some("1"), Some(("4", Some("add"))));
        check("math/halve", Some("1"), Some(("1", Some("halve"))));
        check("math/double", Some("1"), Some(("4", Some("double"))));
        check("team/math", Some("add"), Some(("3", None)));
        check("team/math", None, Some(("3", None)));
        check("team/math/add", None, Some(("3", Some("add"))));
        let crop = Some("ns:pkg/iface@1.0.0#crop-image");
        check("team/math/cropImage", None, Some(("3", crop)));
        check("team/math/ns:pkg/iface#crop-image", None, Some(("3", crop)));
        check(
            &format!("{}/halve", blob_cid(b"1")),
            None,
            Some(("1", Some("halve"))),
        );
        check("add", Some("1"), None);
        check("maths/add", None, None);
    }
}
