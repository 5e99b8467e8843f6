//! The pages on the console port, in a real browser.

mod browser;
mod doors;
mod flows;
mod provider;
mod screens;
mod sign_in;

use serde_json::{Value, json};

use self::browser::Browser;
use crate::console::Port;

pub const PASSWORD: &str = "a very long password";

/// A server with a user who may do everything.
pub fn with_user(port: &Port, name: &str, role: &str) {
    let user = json!({ "name": name, "grants": [{ "role": role }], "password": PASSWORD });
    let _: Value = port.server.must("user.add", user);
}

/// A browser in which that user is logged in.
pub fn logged_in(port: &Port, name: &str) -> Browser {
    let browser = Browser::start(&port.url(""));
    browser.log_in(name, PASSWORD);
    browser
}
