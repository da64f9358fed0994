//! The program `redstart-proxy`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How jemalloc behaves: few arenas, and freed memory goes back to the system within a second or so, even when the
/// process has fallen idle.
// SAFETY: jemalloc reads this symbol as a pointer to a C string. A slice begins with its pointer, and the text ends
// with a zero byte.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8] =
    b"narenas:4,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    redstart_proxy::cli::main()
}
