//! Arithmetic that says what it does.

use wasi::logging::logging::{Level, log};

wit_bindgen::generate!({ world: "math", path: "wit", generate_all });

struct Math;

export!(Math);

impl Guest for Math {
    fn add(a: f64, b: f64) -> f64 {
        let sum = a + b;
        log(Level::Info, "guest:rust:add", &format!("{a} + {b} = {sum}"));
        sum
    }

    fn divide(a: f64, b: f64) -> f64 {
        if b == 0.0 {
            // A panic is a bare `unreachable` on this target: what there is to say is said before.
            log(Level::Error, "guest:rust:divide", "Division by zero error");
            panic!("division by zero");
        }
        let quotient = a / b;
        log(Level::Info, "guest:rust:divide", &format!("{a} / {b} = {quotient}"));
        quotient
    }
}
