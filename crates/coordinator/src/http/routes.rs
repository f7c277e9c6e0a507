//! Every route, with what is said of it.

use std::sync::Arc;

use axum::{
    Router,
    handler::Handler,
    http::{HeaderMap, header},
    response::IntoResponse as _,
    routing::{MethodFilter, on},
};
use serde_json::json;

use super::{
    blobs, components, executors, functions, method_not_allowed,
    openapi::{About, Paths},
    receipts, run, status, workflows,
};
use crate::{app::App, media, panel, socket};

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const ANY: &str = "*/*";
/// What a WebSocket answers with: its sub-protocol.
const WEBSOCKET: &str = asterism_protocol::SUBPROTOCOL;
const DAG_CBOR: &str = asterism_protocol::CONTENT_TYPE;

/// Routes under way: what answers, and what is told of it.
#[derive(Default)]
struct Routes {
    router: Router<Arc<App>>,
    paths: Paths,
}

impl Routes {
    fn on<H, T>(
        mut self,
        method: &'static str,
        path: &'static str,
        handler: H,
        about: About,
    ) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        let filter = match method {
            "GET" => MethodFilter::GET,
            "HEAD" => MethodFilter::HEAD,
            "POST" => MethodFilter::POST,
            "PUT" => MethodFilter::PUT,
            "DELETE" => MethodFilter::DELETE,
            _ => unreachable!("no route has the method {method}"),
        };
        self.paths.add(method, path, about);
        self.router = self.router.route(path, on(filter, handler));
        self
    }
}

/// Everything that is answered, but for what holds for all of it.
pub(super) fn router() -> Router<Arc<App>> {
    let routes = Routes::default();
    let routes = gateway(routes);
    let routes = runs(routes);
    let routes = things(routes);
    let mut routes = state(routes);
    // Told of as well, and answered once everything is told.
    let described = About::new("coordinator", "This description, as OpenAPI 3.1").json("OpenAPI");
    routes.paths.add("GET", "/openapi.json", described);
    let page = About::new("coordinator", "This description, as a page").answer(
        200,
        "A page without scripts",
        &["text/html"],
    );
    routes.paths.add("GET", "/api", page);
    let document: Arc<str> = routes.paths.document().to_string().into();
    let page: Arc<str> = routes.paths.page().into();
    let text = |media_type: &'static str, text: Arc<str>| {
        on(MethodFilter::GET, move |_: HeaderMap| {
            let response = ([(header::CONTENT_TYPE, media_type)], text.to_string());
            std::future::ready(response.into_response())
        })
    };
    routes
        .router
        .route("/openapi.json", text(media::JSON, document))
        .route("/api", text("text/html; charset=utf-8", page))
        .fallback(panel::serve)
        .method_not_allowed_fallback(method_not_allowed)
}

fn workflow_body(about: About) -> About {
    let schema = json!({ "schema": { "$ref": "#/components/schemas/Workflow" } });
    about
        .body(
            "A workflow, simplified or full, or {\"name\", \"workflow\"} around one: JSON, YAML or DAG-CBOR, told apart by how it begins",
            json!({ JSON: schema, "application/yaml": schema, DAG_CBOR: {} }),
        )
        .query(
            "nonce",
            "string",
            "A nonce for every task that has none: nothing is replayed",
        )
}

fn run_options(about: About) -> About {
    about
        .query(
            "timeout",
            "integer",
            "Longest wait for the result, in milliseconds; at most a day, which is the default",
        )
        .query(
            "wait",
            "boolean",
            "false: answer 202 with the run's address as soon as the run is durable",
        )
        .query("name", "string", "A name for people")
        .query("submitter", "string", "Who submits, for people")
        .query(
            "verify",
            "string",
            "When outcomes are believed: any, trusted, quorum:2/3 or spot:5%25, where %25 is a percent sign",
        )
        .query("priority", "integer", "A head start, in steps")
        .query(
            "deadline",
            "integer",
            "By when it is wanted, in milliseconds from now",
        )
        .query("force", "boolean", "Run what is known too, and compare")
        .header(
            "accept",
            "text/event-stream: the run as it happens (events run, task, end)",
        )
}

const RESULT: &str = "The result of the last task written: text/plain for strings and numbers, image/svg+xml for SVG, JSON for lists, maps, booleans and null, the type that the first bytes tell for bytes";

const OF_COMPONENT: &str = "As /{function} with component%2Ffunction, which is for components whose name begins another path here, and for functions called schema or workflow.";

fn gateway(routes: Routes) -> Routes {
    let run = workflow_body(About::new("gateway", "Run a workflow and answer with its result"))
        .details("A task that failed makes this an error, although the last task may have a result (then it is in details.result), unless a task of the workflow awaits the failure (await/error, await/*).")
        .query("allResults", "boolean", "Every task's result, as [{name, out, type, headers, replayed, receipt}]");
    let call = |summary| {
        run_options(About::new("functions", summary).query(
            "nonce",
            "string",
            "A nonce: nothing is replayed",
        ))
        .answer(200, RESULT, &[ANY])
        .answer(
            202,
            "With wait=false: {run, workflow, at, token, needs_token}",
            &[JSON],
        )
    };
    let args =
        json!({ JSON: { "schema": { "oneOf": [{ "type": "object" }, { "type": "array" }] } } });
    routes
        .on("GET", "/", status::root, About::new("gateway", "[[name, JSON Schema], …] for programs, the panel for browsers")
            .details("A WebSocket here speaks the JSON-RPC of Homestar's client.")
            .answer(200, "Functions by name with the schema of their arguments", &[JSON, "text/html"]))
        .on("POST", "/run", run::run, run_options(run)
            .details("A document may have 64 MiB; a full workflow in its canonical DAG-CBOR 256 MiB, if the request says its length.")
            .header("idempotency-key", "A name for this request: when it comes again it is the same run, as long as the coordinator remembers (its latest ten thousand, until it restarts)")
            .answer(200, RESULT, &[ANY, EVENTS])
            .answer(202, "With wait=false: {run, workflow, at, token, needs_token}", &[JSON]))
        .on("POST", "/workflow", run::prepare_only, workflow_body(About::new("gateway", "Prepare a workflow without running it"))
            .json("{cid, workflow, tasks: [{name, instruction, invocation}]}"))
        .on("POST", "/validate", run::validate, workflow_body(About::new("gateway", "Find every mistake in a workflow without running it"))
            .json("{findings: [{line, column, path, message, hint}]}, none when it would run"))
        .on("GET", "/functions", functions::list, About::new("functions", "Every function")
            .json("[{name, component, signature, schema, result}]"))
        .on("GET", "/{function}", functions::call_by_query, call("Call a function, arguments in the query by name")
            .details("Texts are read by the parameter's WIT type; lists by repeating the name or as JSON, other types as JSON. The options below are arguments where the function has a parameter of that name."))
        .on("POST", "/{function}", functions::call_by_body, call("Call a function, arguments in the body")
            .body("Arguments by name, or a list of them in order", args.clone()))
        .on("GET", "/{component}/{function}", functions::call_by_query, call("Call a function of a component, arguments in the query")
            .details(OF_COMPONENT))
        .on("POST", "/{component}/{function}", functions::call_by_body, call("Call a function of a component, arguments in the body")
            .details(OF_COMPONENT)
            .body("Arguments by name, or a list of them in order", args.clone()))
        .on("GET", "/{component}/{function}/schema", functions::schema, About::new("functions", "The JSON Schema of the arguments of a component's function").json("JSON Schema"))
        .on("GET", "/{component}/{function}/workflow", functions::workflow, About::new("functions", "The call of a component's function as a prepared workflow, arguments in the query")
            .json("As of /workflow"))
        .on("POST", "/{component}/{function}/workflow", functions::workflow, About::new("functions", "The call of a component's function as a prepared workflow, arguments in the body")
            .body("As of POST /{function}", args.clone())
            .json("As of /workflow"))
        .on("GET", "/{function}/schema", functions::schema, About::new("functions", "The JSON Schema of a function's arguments").json("JSON Schema"))
        .on("GET", "/{function}/workflow", functions::workflow, About::new("functions", "The call as a prepared workflow, arguments in the query")
            .json("As of /workflow"))
        .on("POST", "/{function}/workflow", functions::workflow, About::new("functions", "The call as a prepared workflow, arguments in the body")
            .body("As of POST /{function}", args)
            .json("As of /workflow"))
}

fn runs(routes: Routes) -> Routes {
    let which = |summary| {
        About::new("runs", summary).query(
            "run",
            "integer",
            "Which run of the workflow; the latest without it",
        )
    };
    routes
        .on(
            "GET",
            "/workflows",
            workflows::list,
            About::new("runs", "Runs, the newest first, at most a thousand")
                .query("state", "string", "Only those in this state: running, done, failed or cancelled")
                .query("limit", "integer", "At most so many")
                .json("[{run, workflow, name, submitter, state, counts, submitted, finished}]; asterism-missing-partitions names those that cannot be reached now"),
        )
        .on(
            "GET",
            "/workflows/{workflow}",
            workflows::show,
            which("A run with its tasks")
                .query("from", "integer", "The place of the first task in the answer, from 0")
                .query("limit", "integer", "Most tasks in it; 10,000 without it, and at most")
                .json("{summary, tasks}; where tasks are left out, a Link header leads to the next"),
        )
        .on(
            "DELETE",
            "/workflows/{workflow}",
            workflows::cancel,
            which("Submitter or operator: cancel a run")
                .json("{run, cancelled: true}; 409 already-ended if it had ended before"),
        )
        .on(
            "POST",
            "/workflows/{workflow}/cancel",
            workflows::cancel,
            which("Submitter or operator: cancel a run").json("As of DELETE"),
        )
        .on(
            "POST",
            "/workflows/{workflow}/rerun",
            workflows::rerun,
            run_options(About::new(
                "runs",
                "Run the workflow of a run once more: what is known is replayed, what failed or was cancelled is tried again",
            ))
            .query("allResults", "boolean", "As of /run")
            .answer(200, RESULT, &[ANY, EVENTS])
            .answer(202, "With wait=false: {run, workflow, at, token, needs_token}", &[JSON]),
        )
        .on(
            "POST",
            "/workflows/{workflow}/pause",
            workflows::pause,
            which("Submitter or operator: lease nothing more of a run until it is resumed").json("{run, paused: true}"),
        )
        .on(
            "POST",
            "/workflows/{workflow}/resume",
            workflows::resume,
            which("Submitter or operator: lease what a run waits for again").json("{run, paused: false}"),
        )
        .on(
            "POST",
            "/workflows/{workflow}/tasks/{task}/cancel",
            workflows::cancel_task,
            which("Submitter or operator: end one task; what awaits it fails").json("{run, task, cancelled: true}"),
        )
        .on(
            "POST",
            "/pause",
            workflows::pause_all,
            About::new(
                "coordinator",
                "Operator only: lease nothing more of any run until all is resumed",
            )
            .json("{paused: true}"),
        )
        .on(
            "POST",
            "/resume",
            workflows::resume_all,
            About::new("coordinator", "Operator only: lease again").json("{paused: false}"),
        )
        .on(
            "GET",
            "/workflows/{workflow}/document",
            workflows::document,
            which("The full workflow of a run with its CIDs").json("As of /workflow"),
        )
        .on(
            "GET",
            "/workflows/{workflow}/result",
            workflows::result,
            which("Wait for a run and answer with its result")
                .query("timeout", "integer", "As of /run")
                .query("allResults", "boolean", "As of /run")
                .answer(200, RESULT, &[ANY]),
        )
        .on(
            "GET",
            "/workflows/{workflow}/events",
            workflows::watch,
            which("A run as it happens").answer(
                200,
                "Events run, task and at last end with the result or the error",
                &[EVENTS],
            ),
        )
        .on(
            "GET",
            "/workflows/{workflow}/tasks/{task}",
            workflows::task,
            which("A task: its state and why it is there, its logs and attempts")
                .json("{run, workflow, state, task, why: [sentence]}"),
        )
}

fn things(routes: Routes) -> Routes {
    let bytes = json!({ "application/octet-stream": {} });
    routes
        .on(
            "GET",
            "/receipts/{cid}",
            receipts::show,
            About::new(
                "receipts",
                "A receipt, by its CID or by that of its instruction",
            )
            .answer(
                200,
                "DAG-JSON, or DAG-CBOR for who accepts it",
                &[JSON, DAG_CBOR],
            ),
        )
        .on(
            "GET",
            "/receipts/{cid}/task",
            receipts::task,
            About::new(
                "receipts",
                "The latest run that has the task which a receipt answers",
            )
            .json("{run, task, instruction}, with missing_partitions where some cannot be reached now"),
        )
        .on(
            "GET",
            "/components",
            components::list,
            About::new("components", "Components and their functions")
                .json("[{cid, name, bytes, functions}]"),
        )
        .on(
            "POST",
            "/components",
            components::add,
            About::new(
                "components",
                "Add a component, or a core module that carries its world",
            )
            .query(
                "name",
                "string",
                "What it is called: 1 to 256 bytes, without `/`, control characters, marks of direction, letters that are not \
                 seen and white space at its ends; neither `.`, `..` nor a CID. Without it, as its first function. What is here already keeps its name, which \
                 the answer tells",
            )
            .body("WebAssembly", json!({ "application/wasm": {} }))
            .answer(201, "What it exports", &[JSON]),
        )
        .on(
            "POST",
            "/blobs",
            blobs::post,
            About::new("blobs", "Store bytes")
                .body("Bytes", bytes.clone())
                .answer(201, "{cid}", &[JSON]),
        )
        .on(
            "GET",
            "/blobs/{cid}",
            blobs::get,
            About::new("blobs", "Bytes by CID, all or a range")
                .header("range", "One range of bytes")
                .answer(
                    200,
                    "The bytes, with the type that the first of them tell",
                    &[ANY],
                )
                .answer(206, "The range", &[ANY]),
        )
        .on(
            "HEAD",
            "/blobs/{cid}",
            blobs::head,
            About::new("blobs", "Is it here, and how large?").answer(200, "Content-Length", &[]),
        )
        .on(
            "PUT",
            "/blobs/{cid}",
            blobs::put,
            About::new(
                "blobs",
                "Store bytes under their CID; other bytes are refused",
            )
            .body("Bytes", bytes)
            .answer(200, "It was here", &[JSON])
            .answer(201, "{cid}", &[JSON]),
        )
}

fn state(routes: Routes) -> Routes {
    routes
        .on(
            "GET",
            "/executors",
            executors::list,
            About::new("executors", "Executors that are here")
                .json("[{key, name, host, threads, since, doing, leases, tasks, fuel}]; asterism-missing-partitions names those that cannot be reached now"),
        )
        .on(
            "POST",
            "/executors/{executor}/drain",
            executors::drain,
            About::new(
                "executors",
                "Operator only: lease nothing more to an executor, by its key or name; what it holds goes on",
            )
            .query(
                "undo",
                "boolean",
                "Lease to it again; so does a restart, and its return after it was gone",
            )
            .json("{executor, draining}"),
        )
        .on(
            "POST",
            "/executors/{executor}/ban",
            executors::ban,
            About::new(
                "executors",
                "Operator only: exclude an executor, by its key or name: nothing is leased to it, nothing believed of it",
            )
            .query("reason", "string", "Why, for its owner and for people")
            .query("undo", "boolean", "Take an exclusion back, whatever it was for")
            .json("{executor, banned, reason?}"),
        )
        .on(
            "GET",
            "/ws/executor",
            socket::executor,
            About::new("executors", "WebSocket of executors").answer(101, WEBSOCKET, &[]),
        )
        .on(
            "GET",
            "/ws/watch",
            socket::watch,
            About::new("runs", "WebSocket of panels").answer(101, WEBSOCKET, &[]),
        )
        .on(
            "GET",
            "/health",
            status::health,
            About::new(
                "coordinator",
                "200 while work is accepted, 503 with the reason when not",
            )
            .json("{status, trouble, version, executors, leases, paused, components}"),
        )
        .on(
            "GET",
            "/metrics",
            status::metrics,
            About::new("coordinator", "For Prometheus").answer(
                200,
                "OpenMetrics",
                &["application/openmetrics-text"],
            ),
        )
}
