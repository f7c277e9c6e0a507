//! The guest that others are composed with: it asks them, and hands on what they answer.

wit_bindgen::generate!({ world: "relay", path: "wit" });

struct Relay;

export!(Relay);

impl Guest for Relay {
    fn say_all(names: Vec<String>) -> Vec<String> {
        names.iter().map(|name| say(name)).collect()
    }

    fn fold(numbers: Vec<f64>) -> Option<f64> {
        numbers.into_iter().reduce(combine)
    }
}
