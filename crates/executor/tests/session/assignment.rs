//! Leases that come: what is made of them, and what is refused.

use asterism_executor::{Config, ThreadId};
use asterism_protocol::{
    Effects, HTTP, Nonce, Out, Promise, Value, blob_cid,
    message::{Kept, hello_bytes},
};

use crate::driver::{COMPONENT, Driver, NONCE, lease, lease_of, task};

#[test]
fn a_task_goes_from_poll_to_acceptance() {
    let mut driver = Driver::new(|_| {});
    let hello = driver.connect(&[]);
    hello
        .key
        .verify(&hello_bytes(&NONCE), &hello.proof)
        .expect("the key is proven");
    assert_eq!(driver.polled(), Some(2), "one thread and one prefetched");
    driver.assign(vec![lease_of(
        1,
        task("add", vec![Value::Integer(2), Value::Integer(3)]),
    )]);
    assert_eq!(driver.fetched(), [blob_cid(COMPONENT)]);
    assert_eq!(
        driver.session.status().doing[&ThreadId(0)].workflow,
        "a workflow"
    );
    assert_eq!(
        driver.polled(),
        Some(1),
        "one more is held while this one runs"
    );
    assert_eq!(driver.perform(), 1);
    let items = driver
        .delivered()
        .expect("a lone task is delivered without delay");
    assert_eq!(items[0].outcome.out, Out::Ok(Value::Integer(5)));
    assert_eq!(
        driver.session.status().tasks,
        0,
        "what is not accepted does not count"
    );
    driver.accept(&[1]);
    let status = driver.session.status();
    assert_eq!(
        (status.tasks, status.fuel, status.idle_because.as_str()),
        (1, 3, "waiting for work")
    );
    driver.wait(1_000);
    assert_eq!(
        driver.heartbeat(),
        Some(vec![]),
        "an idle executor shows that it lives"
    );
}

#[test]
fn promises_are_resolved_and_the_instruction_keeps_its_name() {
    let mut driver = Driver::welcomed(|_| {});
    let awaited = task("echo", vec![]).run.cid();
    let promise = Promise {
        branch: asterism_protocol::Await::Ok,
        instruction: awaited,
    };
    let mut lease = lease_of(1, task("echo", vec![Value::List(vec![promise.to_value()])]));
    lease.inputs = vec![Kept {
        instruction: awaited,
        out: Out::Ok(Value::Integer(9)).into(),
    }];
    let instruction = lease.task.run.cid();
    driver.assign(vec![lease]);
    let (_, _, job) = driver.run().expect("it runs");
    assert_eq!(job.args, [Value::List(vec![Value::Integer(9)])]);
    assert_eq!(job.instruction, instruction);
}

#[test]
fn files_come_with_the_bytes_behind_their_links() {
    let mut driver = Driver::welcomed(|_| {});
    let awaited = task("echo", vec![]).run.cid();
    let promise = Promise {
        branch: asterism_protocol::Await::Ok,
        instruction: awaited,
    };
    let (given, made) = (blob_cid(b"given"), blob_cid(b"made"));
    let mut task = task("file", vec![Value::String("made/before".into())]);
    task.run.input.files = [
        ("data/given", Value::Link(given.to_link())),
        ("made/before", promise.to_value()),
    ]
    .map(|(path, file)| (path.to_owned(), file))
    .into();
    let mut lease = lease_of(1, task);
    lease.inputs = vec![Kept {
        instruction: awaited,
        out: Out::Ok(Value::Link(made.to_link())).into(),
    }];
    let instruction = lease.task.run.cid();
    driver.assign(vec![lease]);
    assert_eq!(driver.fetched(), [blob_cid(COMPONENT), given, made]);
    let (_, _, job) = driver.run().expect("it runs");
    assert_eq!(job.instruction, instruction);
    assert_eq!(job.links(), [given, made]);
    assert_eq!(job.files["made/before"], Value::Link(made.to_link()));
}

#[test]
fn what_cannot_be_performed_is_refused() {
    let awaited = task("echo", vec![]).run.cid();
    let promise = Promise {
        branch: asterism_protocol::Await::Error,
        instruction: awaited,
    };
    let mut broken_promise = lease_of(1, task("echo", vec![promise.to_value()]));
    broken_promise.inputs = vec![Kept {
        instruction: awaited,
        out: Out::Ok(Value::Null).into(),
    }];
    let mut operation = lease(1);
    operation.task.run.op = "http/get".into();
    let mut resource = lease(1);
    resource.task.run.rsc = "https://example.org/a.wasm".into();
    let mut memory = lease(1);
    memory.limits.memory = 1 << 40;
    let link = lease_of(1, task("echo", vec![Value::Link(awaited.to_link())]));
    let mut file = lease(1);
    let odd = ("a/../b".to_owned(), Value::Null);
    file.task.run.input.files = [odd].into();
    for (lease, reason) in [
        (broken_promise, "await/error"),
        (operation, "http/get"),
        (resource, "https://example.org/a.wasm"),
        (memory, "memory limit"),
        (link, "not a blob"),
        (file, "files.a/../b"),
    ] {
        let mut driver = Driver::welcomed(|_| {});
        driver.assign(vec![lease]);
        let (id, words) = driver.refused().expect("it is refused");
        assert!(id == 1 && words.contains(reason), "{words}");
        assert_eq!(driver.run(), None);
    }
}

#[test]
fn an_effect_is_granted_only_where_it_is_asked_for_and_offered() {
    let effectful = |effect: &str| {
        let mut lease = lease(1);
        lease.task.run.input.effects = Effects::from([effect.to_owned()]);
        lease.task.run.nnc = Nonce::Text("once".into());
        lease
    };
    let offering = |config: &mut Config| {
        let offers = ["gpu".to_owned(), HTTP.to_owned()];
        config.capabilities.offers = offers.into();
    };
    let mut closed = Driver::welcomed(|_| {});
    closed.assign(vec![effectful(HTTP)]);
    let (_, words) = closed.refused().expect("it is refused");
    assert_eq!(words, "the effect `wasi:http` is not offered here");

    for (asked, granted) in [(effectful(HTTP), true), (lease(1), false)] {
        let mut open = Driver::welcomed(offering);
        open.assign(vec![asked]);
        let (_, _, job) = open.run().expect("it is performed");
        assert_eq!(job.effects.contains(HTTP), granted);
    }

    // What is offered and is no effect that there is, is none.
    let mut open = Driver::welcomed(offering);
    open.assign(vec![effectful("gpu")]);
    let (_, words) = open.refused().expect("it is refused");
    assert_eq!(words, "the effect `gpu` is not offered here");
}

#[test]
fn leases_that_were_not_asked_for_are_handed_back() {
    let mut driver = Driver::welcomed(|_| {});
    assert_eq!(driver.polled(), Some(2));
    driver.assign((1..=5).map(lease).collect());
    assert_eq!(driver.handed_back(), Some(vec![3, 4, 5]));
    driver.assign(vec![lease(6)]);
    assert_eq!(driver.handed_back(), Some(vec![6]));
    driver.assign(vec![lease(1)]);
    assert_eq!(
        driver.handed_back(),
        None,
        "a lease that is held stays held"
    );
}
