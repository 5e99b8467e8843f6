//! How a test says that it cannot run here.

/// Prints the line that counts the running test as skipped. Use it as
/// `if !is_root() { return skip("needs root"); }`.
pub fn skip(reason: &str) {
    // The test runner's count looks for this word at the start of a line.
    println!("skipped: {reason}");
}

/// Does this process act as root?
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Is there a program of this name on the search path or in the system's own folders?
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(system).any(|folder| folder.join(name).is_file())
}
