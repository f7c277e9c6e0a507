//! The panel: the page that people see.

fn main() {
    console_error_panic_hook::set_once();
    asterism_web::app::start();
}
