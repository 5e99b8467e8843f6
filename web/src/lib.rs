//! The pages on the console port.
//!
//! ```text
//! browser ──▶ console channel ──▶ Web::page ──▶ route ──▶ a page ──▶ verbs of the server
//!                (sessions, CSRF)                            │
//!                                                            └──▶ frame: the whole document, or its live part
//! ```
//!
//! A page is a function from what is asked for to markup: it asks the server's verbs as the person who
//! looks, so that it shows what that person may see and no more, and holds nothing of its own. The
//! markup is made here, by typed templates that escape every text; scripts only bring live parts
//! up to date, check forms while they are filled in, and make tables handier. Without scripts
//! everything works by reloading. See `docs/internals/web.md`.
//!
//! | room | does |
//! |---|---|
//! | `route` | from a path to a page |
//! | `sign_in` | the way by an identity provider, and back |
//! | `visit` | who looks, what was asked for, and asking verbs |
//! | `pages` | one file a page |
//! | `objects` | forms for everything that an administrator sets |
//! | `frame` | the document around a page |
//! | `parts`, `pictures`, `words` | what pages are made of |
//! | `text` | every text that people read, in one language or another |
//! | `live` | pages that follow what happens |
//! | `assets` | style, scripts, signs |

#![recursion_limit = "256"]

mod assets;
mod find;
mod frame;
mod live;
mod objects;
mod pages;
mod parts;
mod pictures;
mod route;
mod sign_in;
mod text;
mod visit;
mod web;
mod words;

pub use objects::command_line;
pub use web::Web;
