//! The config-validator daemon.

fn main() -> std::process::ExitCode {
    keep_small_pages();
    shared::main::<config_validator::Cli>()
}

/// Turns transparent huge pages off for this process. The allocator that counts memory for the policies' limit
/// asks for them everywhere, and every thread begins on a page of its own: 14 MiB at rest, of which 2 are in
/// use. It comes before the threads. A kernel that refuses costs memory, no more.
fn keep_small_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
