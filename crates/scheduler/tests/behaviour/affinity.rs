//! Who gets what, where several may have it: those who have at hand what it needs.

use asterism_protocol::{Await, Files, Out, Policy, Task, Terms, Value, blob_cid, message::Lease};
use asterism_scheduler::Config;

use crate::driver::{Driver, Executor, awaits, config, delivery, ok, task};

/// A task of a component of its own.
fn of(component: &str, func: &str) -> Task {
    let mut task = task(func, vec![]);
    task.run.rsc = format!("ipfs://{}", blob_cid(component.as_bytes()));
    task
}

fn func(lease: &Lease) -> &str {
    &lease.task.run.input.func
}

/// The executor does a task of this component, with so much fuel in so many microseconds.
fn warm_up(driver: &mut Driver, executor: &Executor, component: &str, fuel: u64, us: u64) {
    let name = format!("warm-up of {component} by {}", executor.key());
    driver.submit(vec![of(component, &name)]);
    let lease = driver.poll_for_one(executor);
    let mut item = delivery(&lease, ok(1));
    (item.outcome.fuel, item.remark.elapsed_us) = (Some(fuel), us);
    driver.deliver(executor, vec![item]);
    driver.take(executor);
}

fn why(driver: &Driver, run: asterism_protocol::view::RunId, task: u32) -> String {
    let explained = driver.scheduler.explain(run, task).expect("it is there");
    explained.leases[0].reason.clone()
}

#[test]
fn an_executor_gets_the_task_whose_component_it_has() {
    let mut driver = Driver::new();
    let (first, second) = (driver.executor(1), driver.executor(2));
    warm_up(&mut driver, &first, "y", 1, 1);
    let run = driver.submit(vec![of("x", "x"), of("y", "y")]);
    assert_eq!(func(&driver.poll_for_one(&first)), "y");
    assert_eq!(
        why(&driver, run, 1),
        "it was its turn, and it may have it; it has the component at hand"
    );
    assert_eq!(func(&driver.poll_for_one(&second)), "x");
    assert_eq!(
        why(&driver, run, 0),
        "it was its turn, and it may have it; it has the component to fetch"
    );
}

#[test]
fn a_task_goes_to_whoever_made_its_input() {
    let mut driver = Driver::new();
    let (first, second) = (driver.executor(1), driver.executor(2));
    warm_up(&mut driver, &first, "c", 1, 1);
    let picture = of("c", "picture");
    let mut shrink = of("c", "shrink");
    shrink.run.input.args = vec![awaits(Await::Ok, &picture)];
    let run = driver.submit(vec![picture, shrink]);
    let lease = driver.poll_for_one(&second);
    driver.poll(&first, 1);
    driver.poll(&second, 1);
    let picture = Out::Ok(Value::Link(blob_cid(b"picture").to_link()));
    driver.deliver(&second, vec![delivery(&lease, picture)]);
    assert!(driver.assigned(&first).is_empty(), "though it waits longer");
    assert_eq!(func(&driver.assigned(&second)[0]), "shrink");
    assert_eq!(
        why(&driver, run, 1),
        "those who waited longer have more to do, or to fetch, or are slower, and it may have it; \
         it has the component at hand, and 1 of 1 blobs among the inputs at hand"
    );
}

#[test]
fn a_link_among_arguments_or_files_is_an_input() {
    fn link(picture: &str) -> Value {
        Value::Link(blob_cid(picture.as_bytes()).to_link())
    }
    let as_argument = |task: &mut Task, picture: &str| task.run.input.args = vec![link(picture)];
    let as_file = |task: &mut Task, picture: &str| {
        task.run.input.files = Files::from([("picture".to_owned(), link(picture))]);
    };
    for give in [as_argument as fn(&mut Task, &str), as_file] {
        let mut driver = Driver::new();
        let (first, second) = (driver.executor(1), driver.executor(2));
        let looking_at = |picture: &str, how: &str| {
            let mut task = of("c", how);
            give(&mut task, picture);
            task
        };
        for executor in [&first, &second] {
            warm_up(&mut driver, executor, "c", 1, 1);
        }
        driver.submit(vec![looking_at("a", "look")]);
        let lease = driver.poll_for_one(&second);
        driver.complete(&second, &lease, ok(1));
        driver.poll(&first, 1);
        driver.poll(&second, 1);
        driver.submit(vec![looking_at("a", "look again")]);
        assert_eq!(func(&driver.assigned(&second)[0]), "look again");
        driver.submit(vec![looking_at("b", "look elsewhere")]);
        assert_eq!(func(&driver.assigned(&first)[0]), "look elsewhere");
    }
}

#[test]
fn what_fits_nobody_is_passed_over_a_few_times_only() {
    let affinity = 4;
    let mut driver = Driver::with(Config {
        affinity,
        ..config()
    });
    let executor = driver.executor(1);
    warm_up(&mut driver, &executor, "y", 1, 1);
    let others = (0..100).map(|n| of("y", &format!("y{n}")));
    driver.submit(std::iter::once(of("x", "x")).chain(others).collect());
    let mut before = 0;
    loop {
        let lease = driver.poll_for_one(&executor);
        driver.complete(&executor, &lease, ok(1));
        if func(&lease) == "x" {
            break;
        }
        before += 1;
    }
    assert_eq!(before, affinity);
}

#[test]
fn what_is_on_a_longer_way_to_the_end_is_not_passed_over() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    warm_up(&mut driver, &executor, "y", 1, 1);
    let first = of("x", "x");
    let mut last = of("x", "last");
    last.run.input.args = vec![awaits(Await::Ok, &first)];
    driver.submit(vec![of("y", "y"), first, last]);
    assert_eq!(func(&driver.poll_for_one(&executor)), "x");
}

#[test]
fn whoever_has_the_component_gets_no_more_than_its_threads_while_others_do_nothing() {
    let mut driver = Driver::new();
    let (cold, warm) = (driver.executor(1), driver.executor(2));
    warm_up(&mut driver, &warm, "c", 1, 1);
    driver.poll(&cold, 4);
    driver.poll(&warm, 4);
    driver.submit((0..4).map(|n| of("c", &format!("f{n}"))).collect());
    // Each has two threads.
    assert_eq!(driver.assigned(&warm).len(), 2);
    assert_eq!(driver.assigned(&cold).len(), 2);
}

#[test]
fn of_two_that_have_the_same_at_hand_the_faster_one_gets_it() {
    let mut driver = Driver::new();
    let (slow, fast) = (driver.executor(1), driver.executor(2));
    warm_up(&mut driver, &slow, "c", 1_000, 1_000);
    warm_up(&mut driver, &fast, "c", 1_000, 100);
    driver.poll(&slow, 1);
    driver.poll(&fast, 1);
    let run = driver.submit(vec![of("c", "f")]);
    assert_eq!(driver.assigned(&fast).len(), 1);
    assert_eq!(
        why(&driver, run, 0),
        "those who waited longer have more to do, or to fetch, or are slower, and it may have it; \
         it has the component at hand"
    );
}

#[test]
fn an_executor_that_was_never_seen_is_not_passed_over_for_a_fast_one() {
    let mut driver = Driver::new();
    let (fast, new) = (driver.executor(1), driver.executor(2));
    warm_up(&mut driver, &fast, "other", 1_000, 100);
    driver.poll(&new, 1);
    driver.poll(&fast, 1);
    driver.submit(vec![of("c", "f")]);
    assert_eq!(driver.assigned(&new).len(), 1);
}

/// Speed is what an executor says of itself, and components come to whoever had them before: either would let two that
/// conspire be asked for the same more often than chance does.
#[test]
fn where_outcomes_are_compared_it_is_whose_turn_it_is() {
    let mut driver = Driver::new();
    let (slow, fast) = (driver.executor(1), driver.executor(2));
    warm_up(&mut driver, &fast, "c", 1_000, 1);
    driver.poll(&slow, 1);
    driver.poll(&fast, 1);
    let terms = Terms {
        verify: Some(Policy::Spot { per_mille: 100 }),
        ..Terms::default()
    };
    driver.submit_on(terms, vec![of("c", "f")]);
    assert_eq!(driver.assigned(&slow).len(), 1);
}

#[test]
fn whom_an_outcome_is_compared_with_is_not_chosen() {
    let mut driver = Driver::new();
    let (first, second) = (driver.executor(1), driver.executor(2));
    warm_up(&mut driver, &second, "y", 1, 1);
    let terms = Terms {
        verify: Some(Policy::Quorum { agree: 2, of: 3 }),
        ..Terms::default()
    };
    driver.submit_on(terms, vec![of("x", "x"), of("y", "y")]);
    let mut begun = driver.poll_for(&first, 2);
    begun.sort_by_key(|lease| lease.id);
    assert_eq!(func(&begun[0]), "x");
    assert_eq!(func(&driver.poll_for_one(&second)), "x", "though it has y");
}

#[test]
fn without_affinity_the_first_gets_the_first() {
    let mut driver = Driver::with(Config {
        affinity: 1,
        ..config()
    });
    let (first, second) = (driver.executor(1), driver.executor(2));
    warm_up(&mut driver, &first, "y", 1, 1);
    driver.submit(vec![of("x", "x"), of("y", "y")]);
    assert_eq!(func(&driver.poll_for_one(&first)), "x");
    driver.take(&second);
}

#[test]
fn an_executor_that_began_anew_has_nothing() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.submit(vec![of("y", "begun")]);
    driver.poll_for_one(&executor);
    driver.disconnect(&executor);
    // It comes back without its lease.
    let executor = driver.executor(1);
    let run = driver.submit(vec![of("y", "y")]);
    assert_eq!(func(&driver.poll_for_one(&executor)), "y");
    assert!(why(&driver, run, 0).ends_with("it has the component to fetch"));
}
