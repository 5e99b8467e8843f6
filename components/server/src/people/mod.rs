//! Who may ask over the console port: users and their passwords, sessions of browsers, API tokens.
//!
//! ```text
//! API token ─┐
//! session ───┼─► credentials ─► Principal ─► desk
//! password ──┘        ▲
//!                   roles
//! ```
//! | room | does |
//! |---|---|
//! | `roles` | named sets of rights; what a user or token was given |
//! | `passwords` | Argon2id |
//! | `one_time` | one-time passwords by the clock |
//! | `lock_out` | how long wrong log-ins hold up the next |
//! | `providers` | identity providers: what their users may, and who may change that |
//! | `sign_in` | a browser that comes back from a provider |
//! | `credentials` | from what somebody shows to a principal |
//! | `sessions` | browsers that are logged in |
//! | `welcome` | the first user, who cannot be let in by another one |
//! | `second_person` | changes that one person should not make alone |

mod credentials;
pub(crate) mod lock_out;
pub(crate) mod one_time;
pub(crate) mod passwords;
pub(crate) mod providers;
mod roles;
pub(crate) mod second_person;
mod session_list;
mod sessions;
mod sign_in;
mod welcome;

use simsim_transfer::WrongSecrets;
use tokio::sync::Mutex;

pub use credentials::Unknown;
pub(crate) use credentials::{name_of_user, new_secret};
pub(crate) use providers::granted_for;
pub use roles::{Granted, Role};
pub(crate) use roles::{Scope, check_scopes, in_words, unfold};
pub use sessions::{Begun, Known};
pub use sign_in::{LedAway, SignInAnswer, SignInRefusal};
pub(crate) use sign_in::{is_user_name, way_back};

/// What the Server keeps in memory of those who ask.
#[derive(Default)]
pub(crate) struct People {
    /// By address.
    pub wrong: WrongSecrets,
    /// Identity providers that were asked.
    pub providers: providers::Providers,
    /// Changes of resources: what was looked at holds until it is written. Shared by some paths, so that
    /// one that takes long holds up few others.
    changing: [Mutex<()>; 32],
    /// The link for the first user.
    pub welcome: Mutex<Option<welcome::Welcome>>,
}

impl People {
    /// Who changes the resource at this path waits here for who changes it now.
    pub(crate) fn changing(&self, path: &str) -> &Mutex<()> {
        let [first, ..] = *blake3::hash(path.as_bytes()).as_bytes();
        let [lock, ..] = &self.changing;
        self.changing.get(usize::from(first) % self.changing.len()).unwrap_or(lock)
    }
}
