//! What the start-up log shows people.

/// The banner, with what the process acts as, the port and process id that tools look for.
#[must_use]
pub fn text(mode: &str, port: u16) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "\n\
         \x20       __\n\
         \x20   ___( o)>   Redstart {version}, as Redis {redis} ({bits} bit)\n\
         \x20   \\ <_. )    Running in {mode} mode\n\
         \x20    `---'     Port: {port}\n\
         \x20      ||      PID: {pid}\n\n",
        redis = crate::REDIS_VERSION,
        bits = usize::BITS,
        pid = std::process::id(),
    )
}
