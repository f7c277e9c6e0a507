//! The guest that asks its world for everything: outputs, clocks, randomness, files, networks.

use std::{
    collections::HashMap,
    env, fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant, SystemTime},
};

use wasi::logging::logging::{Level, log};
use wasip2::{
    clocks::monotonic_clock,
    http::{
        outgoing_handler,
        types::{Fields, OutgoingRequest},
    },
    io::poll,
    random::random,
};

wit_bindgen::generate!({ world: "guest", path: "wit", generate_all });

struct Wasip2;

export!(Wasip2);

impl Guest for Wasip2 {
    fn add(a: f64, b: f64) -> f64 {
        let sum = a + b;
        log(Level::Info, "guest:rust:add", &format!("{a} + {b} = {sum}"));
        sum
    }

    fn print_lines(text: String) {
        print!("{text} ");
        eprintln!("{text}, to stderr");
        log(Level::Debug, "guest:rust:print", &text);
        println!("again");
        print!("without an end");
        std::io::stdout().flush().expect("it can be written");
    }

    fn surroundings() -> (u32, u32, String) {
        let mut input = String::new();
        std::io::stdin().read_to_string(&mut input).expect("it can be read");
        (env::vars().count() as u32, env::args().count() as u32, input)
    }

    fn sleep_for(micros: u64) -> (u64, u64) {
        let (monotonic, wall) = (Instant::now(), SystemTime::now());
        thread::sleep(Duration::from_micros(micros));
        let wall = wall.elapsed().expect("it does not go back");
        (monotonic.elapsed().as_nanos() as u64, wall.as_nanos() as u64)
    }

    fn sleep_for_ever() {
        loop {
            thread::sleep(Duration::from_secs(1));
        }
    }

    fn first_of(micros: Vec<u64>) -> (Vec<u32>, u64) {
        let start = monotonic_clock::now();
        let pollables: Vec<_> = micros
            .iter()
            .map(|micros| monotonic_clock::subscribe_duration(micros * 1000))
            .collect();
        let ready = poll::poll(&pollables.iter().collect::<Vec<_>>());
        (ready, monotonic_clock::now() - start)
    }

    fn both_clocks() -> (u64, u64) {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        (monotonic_clock::now(), wall.expect("it is later").as_secs())
    }

    fn hash_order(keys: Vec<String>) -> Vec<String> {
        let map: HashMap<String, ()> = keys.into_iter().map(|key| (key, ())).collect();
        map.into_keys().collect()
    }

    fn random_bytes(count: u64) -> Vec<u8> {
        random::get_random_bytes(count)
    }

    fn open_file(path: String) -> Result<String, String> {
        fs::read_to_string(path).map_err(|error| error.kind().to_string())
    }

    fn connect_to(host: String, port: u16) -> Result<String, String> {
        TcpStream::connect((host, port))
            .map(|_| "connected".to_owned())
            .map_err(|error| error.kind().to_string())
    }

    fn fetch(authority: String) -> Result<String, String> {
        let headers = Fields::new();
        headers
            .append("accept", b"text/plain")
            .map_err(|error| format!("{error:?}"))?;
        let request = OutgoingRequest::new(headers);
        request
            .set_authority(Some(&authority))
            .map_err(|()| "not an authority".to_owned())?;
        match outgoing_handler::handle(request, None) {
            Ok(_) => Ok("sent".to_owned()),
            Err(error) => Err(format!("{error:?}")),
        }
    }

    fn exit_with(code: u8) {
        std::process::exit(code.into());
    }

    fn panic_with(text: String) {
        panic!("{text}");
    }
}
