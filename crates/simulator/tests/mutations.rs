//! The scheduler, broken on purpose: every mutation is caught by the worlds that the unbroken one lives through.
//!
//! A mutation is an edit of the scheduler's own source, so it breaks a decision where it is made, and nothing in the source
//! that ships knows of it. All of them are laid over one copy, each behind a name, and that copy is built once; a name in
//! the environment says which one is at work.
#![cfg(not(target_arch = "wasm32"))]
#![expect(
    clippy::disallowed_methods,
    reason = "what waits here for other programs is in none"
)]

use std::{
    fs,
    num::NonZero,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// One edit of the scheduler.
struct Mutation {
    name: &'static str,
    /// A file of the scheduler's `src/`.
    file: &'static str,
    /// What stands there, exactly once. If it does not any more, choose the place where the same decision is made now.
    find: &'static str,
    /// What is there instead; `{}` becomes "is this mutation at work?".
    replace: &'static str,
    /// Which worlds show it.
    worlds: &'static [&'static str],
    /// What is said when it is caught, one of these.
    caught: &'static [&'static str],
}

const SMALL: &[&str] = &["--small", "--runs", "300"];

/// With liars, and policies that bear them.
const VERIFIED: &[&str] = &["--verified", "--seed", "200", "--runs", "120"];

/// What one world in some hundreds shows: it ends at the first that does.
const RARE: &[&str] = &["--verified", "--seed", "5000", "--runs", "3000"];

const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "one-vote-is-a-quorum",
        file: "proof.rs",
        find: "Some(cid) if most >= agree =>",
        replace: "Some(cid) if most >= agree || {} =>",
        worlds: VERIFIED,
        caught: &[
            "its basis is not enough for its policy",
            "work is left undone",
            "assertion `left == right` failed",
        ],
    },
    Mutation {
        name: "an-executor-is-asked-twice",
        file: "proof.rs",
        find: ".all(|(other, others)| other != key && others != owner)",
        replace: ".all(|(other, others)| {} || other != key && others != owner)",
        worlds: VERIFIED,
        caught: &["one key counts twice"],
    },
    Mutation {
        name: "what-was-not-picked-needs-no-check",
        file: "proof.rs",
        find: "Pick::Unpicked => Decision::Wait(1),",
        replace:
            "Pick::Unpicked if {} => Decision::Believe(only.named.cid, Basis::Sampled { passed: 0 }),
                        Pick::Unpicked => Decision::Wait(1),",
        // Only liars that are honest at first come so far.
        worlds: RARE,
        caught: &["assertion `left == right` failed"],
    },
    Mutation {
        name: "what-rests-on-provisional-outcomes-is-final",
        file: "scheduler/verify.rs",
        find: "if self.recovering || !self.is_grounded(id) => {",
        replace: "if self.recovering || !{} && !self.is_grounded(id) => {",
        worlds: RARE,
        caught: &["assertion `left == right` failed"],
    },
    Mutation {
        name: "checks-wait-for-each-other",
        file: "scheduler/verify.rs",
        find: "pick_of(id) == Some(pick) && self.is_grounded(*id)",
        replace: "pick_of(id) == Some(pick) && ({} || self.is_grounded(*id))",
        worlds: VERIFIED,
        caught: &["work is left undone"],
    },
    Mutation {
        name: "lost-work-is-not-queued-again",
        file: "scheduler/leases.rs",
        find: "self.attempt_failed(lease.work, lease.key, fault);",
        replace: "if !{} { self.attempt_failed(lease.work, lease.key, fault); }",
        worlds: SMALL,
        caught: &["work is left undone"],
    },
    Mutation {
        name: "deadline-is-not-watched",
        file: "leases.rs",
        find: "let slot = self.slots.get(self.due.first as usize)?;",
        replace: "let slot = self.slots.get(self.due.first as usize).filter(|_| !{})?;",
        worlds: SMALL,
        caught: &["nobody looks at lease", "should have ended"],
    },
    Mutation {
        name: "a-sign-of-life-is-one-of-every-lease",
        file: "scheduler/executors.rs",
        find: "        for lease in alive {
            self.extend_lease(lease);",
        replace: "        let all = Some(self.leases_of(key)).filter(|_| {});
        for lease in all.unwrap_or(alive) {
            self.extend_lease(lease);",
        worlds: SMALL,
        caught: &["and was last heard of at"],
    },
    Mutation {
        name: "what-comes-due-waits-for-the-next-fact",
        file: "scheduler.rs",
        find: "Due::Check(key) => self.check_now(&key),
            }
        }
        self.conclude();",
        replace: "Due::Check(key) => self.check_now(&key),
            }
        }
        if {} {
            self.follow();
            return self.publish();
        }
        self.conclude();",
        worlds: SMALL,
        caught: &["executors wait, and nobody is given them"],
    },
    Mutation {
        name: "equal-work-is-not-merged",
        file: "scheduler/runs.rs",
        find: "} else if let Some(work) = self.works.find(&key) {",
        replace: "} else if let Some(work) = self.works.find(&key).filter(|_| !{}) {",
        worlds: SMALL,
        caught: &[
            "was computed a second time",
            "is leased and known",
            "work is left undone",
            "a twin of the journal differs",
        ],
    },
    Mutation {
        name: "receipt-is-not-journaled",
        file: "scheduler.rs",
        find: "self.outputs.push_back(Output::Persist(event));",
        replace: "if !({} && matches!(event, Event::Computed { .. })) {
            self.outputs.push_back(Output::Persist(event));
        }",
        worlds: SMALL,
        caught: &["a twin of the journal differs"],
    },
    Mutation {
        name: "slots-are-not-counted",
        file: "scheduler/leases.rs",
        find: "poll.slots -= 1;",
        replace: "poll.slots -= u32::from(!{});",
        worlds: SMALL,
        caught: &["slots"],
    },
    Mutation {
        name: "broken-promise-counts-as-kept",
        file: "graph.rs",
        find: "if branch.is_some_and(|branch| branch.keeps(edge.branch())) {",
        replace: "if branch.is_some_and(|branch| {} || branch.keeps(edge.branch())) {",
        worlds: SMALL,
        caught: &["work is left undone", "assertion `left == right` failed"],
    },
    Mutation {
        name: "numbers-go-out-before-they-are-durable",
        file: "scheduler/executors.rs",
        find: "self.reserve_numbers();",
        replace: "if !{} { self.reserve_numbers(); }",
        worlds: &["--runs", "400"],
        caught: &["was given out before"],
    },
];

#[test]
fn every_mutation_is_caught() {
    let program = build();
    for worlds in [SMALL, VERIFIED, &["--runs", "20"]] {
        let output = live(&program, "", worlds);
        assert!(
            output.status.success(),
            "without a mutation all is well: {}",
            said(&output)
        );
    }
    // A world takes one processor.
    let at_once = thread::available_parallelism().map_or(1, NonZero::get);
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(mutation) = MUTATIONS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let output = live(&program, mutation.name, mutation.worlds);
                    let said = said(&output);
                    let caught = mutation.caught.iter().any(|text| said.contains(text));
                    if output.status.success() || !caught {
                        missed
                            .lock()
                            .expect("nobody panics")
                            .push((mutation.name, said));
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().expect("nobody panics");
    assert!(missed.is_empty(), "not caught: {missed:#?}");
}

fn live(program: &Path, mutation: &str, worlds: &[&str]) -> Output {
    Command::new(program)
        .args(worlds)
        .env("MUTATION", mutation)
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("the simulator starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Builds the simulator over the mutated copy, in a workspace of its own beside other build products.
fn build() -> PathBuf {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = home
        .ancestors()
        .nth(2)
        .expect("this crate lies in crates/simulator");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("it lies in the target directory");
    let place = target.join("mutations");
    let _ = fs::remove_dir_all(&place);
    copy(&root.join("crates/scheduler"), &place.join("scheduler"));
    copy(home, &place.join("simulator"));
    // The program of this workspace keeps its name.
    let bins = place.join("simulator/src/bin");
    fs::rename(bins.join("sim.rs"), bins.join("sim-mutated.rs")).expect("the program is there");
    fs::remove_file(bins.join("scheduler-bench.rs")).expect("the bench is there");
    fs::remove_dir_all(place.join("simulator/tests")).expect("tests are there");
    MUTATIONS.iter().for_each(|mutation| mutation.apply(&place));
    let switch = r#"
pub(crate) mod mutation {
    /// Is this mutation at work?
    pub(crate) fn is(name: &str) -> bool {
        static NAME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        NAME.get_or_init(|| std::env::var("MUTATION").unwrap_or_default()) == name
    }
}
"#;
    let library = place.join("scheduler/src/lib.rs");
    let text = read(&library) + switch;
    fs::write(&library, text).expect("the copy can be written");
    fs::write(place.join("Cargo.toml"), manifest(root)).expect("the copy can be written");
    fs::copy(root.join("Cargo.lock"), place.join("Cargo.lock")).expect("there is a lockfile");

    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--bin", "sim-mutated"])
        .arg("--manifest-path")
        .arg(place.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "the mutated scheduler does not build: {}",
        said(&output)
    );
    target.join("debug/sim-mutated")
}

impl Mutation {
    fn apply(&self, place: &Path) {
        let path = place.join("scheduler/src").join(self.file);
        let text = read(&path);
        assert_eq!(
            text.matches(self.find).count(),
            1,
            "the mutation {} finds its place in {} no more: choose where the same decision is made now",
            self.name,
            self.file
        );
        let is = format!("crate::mutation::is({:?})", self.name);
        let text = text.replace(self.find, &self.replace.replacen("{}", &is, 1));
        fs::write(&path, text).expect("the copy can be written");
    }
}

/// The workspace's own manifest, over the two copies; all else stays where it is.
fn manifest(root: &Path) -> String {
    let text = read(&root.join("Cargo.toml"));
    let begin = text.find("members = [").expect("the workspace has members");
    let end = text
        .find("exclude = ")
        .expect("the workspace excludes guests");
    let absolute = format!("path = \"{}/crates/", root.display());
    let text = format!(
        "{}members = [\"scheduler\", \"simulator\"]\n{}",
        &text[..begin],
        &text[end..]
    );
    text.replace("path = \"crates/", &absolute)
        .replace(&format!("{absolute}scheduler\""), "path = \"scheduler\"")
        .replace(&format!("{absolute}simulator\""), "path = \"simulator\"")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the target directory can be written");
    for entry in fs::read_dir(from).expect("the crate is there") {
        let entry = entry.expect("the crate can be read");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("the target directory can be written");
        }
    }
}
