//! A walk and a restore on real directories. What needs root says so when it is skipped.

mod attributes;
mod copier;
mod hostile;
mod killed;
mod limits;
mod nasty;
mod policy;
mod random;
mod walking;

/// Prints why and returns true when the test cannot run without root.
fn not_root(test: &str) -> bool {
    let skipped = !rustix::process::geteuid().is_root();
    if skipped {
        println!("skipped: {test} needs root");
    }
    skipped
}
