//! Counting tests by the lines that libtest and the wasm-bindgen test runner print.

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Tally {
    passed: usize,
    failed: usize,
    ignored: Vec<String>,
    step: Programs,
}

/// Test programs of the step at hand.
#[derive(Default)]
struct Programs {
    started: usize,
    ended: usize,
    failed: usize,
}

/// What the wasm runner prints instead of a result when there is nothing to do in this place.
const NOTHING_TO_DO: [&str; 3] = [
    "no tests to run!",
    "this test suite is only configured to run in a browser",
    "This test suite is only configured to run in node.js",
];

impl Tally {
    /// Tests that passed.
    pub(crate) fn passed(&self) -> usize {
        self.passed
    }

    /// Tests that failed, and whatever else went wrong.
    pub(crate) fn failed(&self) -> usize {
        self.failed
    }

    /// Names of tests that are marked to be ignored.
    pub(crate) fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Something that is not a test went wrong.
    pub(crate) fn add_failure(&mut self) {
        self.failed += 1;
    }

    /// Before the first line of a step.
    pub(crate) fn start_step(&mut self) {
        self.step = Programs::default();
    }

    /// A line of the step.
    pub(crate) fn see(&mut self, line: &str) {
        let line = line.trim();
        if line.starts_with("Running ") || line.starts_with("Doc-tests ") {
            self.step.started += 1;
        } else if NOTHING_TO_DO.iter().any(|text| line.starts_with(text)) {
            self.step.ended += 1;
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            let (passed, failed) = (count(counts, "passed"), count(counts, "failed"));
            self.step.ended += 1;
            self.step.failed += failed;
            self.passed += passed;
            self.failed += failed;
        } else if let Some((name, how)) = line
            .strip_prefix("test ")
            .and_then(|test| test.split_once(" ... "))
            && how.starts_with("ignored")
        {
            self.ignored.push(name.to_owned());
        }
    }

    /// After the last line: programs that were started and gave no result crashed, hung or were never built.
    pub(crate) fn end_step(&mut self, is_success: bool) {
        if !is_success {
            let silent = self.step.started.saturating_sub(self.step.ended);
            let unexplained = usize::from(self.step.failed == 0);
            self.failed += silent.max(unexplained);
        }
    }
}

/// The number before a word: `3` in `ok. 3 passed; 0 failed`.
fn count(text: &str, word: &str) -> usize {
    let words: Vec<&str> = text.split([' ', ';']).collect();
    let found = words.windows(2).find(|pair| pair[1] == word);
    found.and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &str, is_success: bool, (passed, failed): (usize, usize)) -> Tally {
        let mut tally = Tally::default();
        tally.start_step();
        lines.lines().for_each(|line| tally.see(line));
        tally.end_step(is_success);
        assert_eq!((tally.passed(), tally.failed()), (passed, failed));
        tally
    }

    #[test]
    fn results_of_all_programs_are_added() {
        let lines = "
     Running unittests src/lib.rs (target/debug/deps/a-1)
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
     Running tests/b.rs (target/debug/deps/b-1)
test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
   Doc-tests a
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        check(lines, false, (6, 1));
    }

    #[test]
    fn crashed_program_is_a_failure_beside_failed_tests() {
        let lines = "
     Running unittests src/lib.rs (target/debug/deps/a-1)
test result: FAILED. 2 passed; 1 failed; 0 ignored
     Running tests/b.rs (target/debug/deps/b-1)
test it ... error: test failed, to rerun pass `--test b`";
        check(lines, false, (2, 2));
    }

    #[test]
    fn build_that_fails_is_a_failure() {
        check("error: could not compile `a` (lib test)", false, (0, 1));
    }

    #[test]
    fn wasm_programs_with_nothing_to_do_here_are_no_failure() {
        let lines = "
     Running unittests src/lib.rs (target/wasm32-unknown-unknown/debug/deps/a-1.wasm)
no tests to run!
     Running tests/b.rs (target/wasm32-unknown-unknown/debug/deps/b-1.wasm)
test result: ok. 3 passed; 0 failed; 0 ignored; 0 filtered out; finished in 0.00s";
        check(lines, true, (3, 0));
    }

    #[test]
    fn ignored_tests_are_named() {
        let tally = check(
            "test far::away ... ignored, needs a network\ntest here ... ok",
            true,
            (0, 0),
        );
        assert_eq!(tally.ignored(), ["far::away"]);
    }
}
