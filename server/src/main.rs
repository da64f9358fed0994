//! Arguments → settings → `Server::run`.

use redstart_common::memory::Counting;
use redstart_server::engine::Engine;
use redstart_server::server::{self, Server};
use redstart_server::settings::Settings;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let mut settings = Settings::default();
    let args: Vec<String> = std::env::args().skip(1).collect();
    for pair in args.chunks(2) {
        if let [name, value] = pair
            && name == "--port"
        {
            settings.port = value.parse().unwrap_or(6379);
        }
    }
    let bound = match server::bind(&settings) {
        Ok(bound) => bound,
        Err((at, error)) => {
            eprintln!("{at}: {error}");
            std::process::exit(1);
        }
    };
    let engine = Engine::new(settings);
    if let Err(error) = Server::run(engine, bound, std::future::pending()) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
