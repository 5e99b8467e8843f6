//! Asks an identity provider who somebody is: OpenID Connect Core 1.0, the authorization code flow with PKCE
//! (RFC 7636).
//!
//! The provider is another system, and all that it answers is hostile input: sizes and times are limited, only HTTPS is
//! spoken, no redirection is followed, and of what it signs only the algorithms and the claims count that are asked for
//! here. Who may do what with an identity is nobody's business in this room.
//!
//! | room | does |
//! |---|---|
//! | `fetch` | one question by HTTPS, one JSON document |
//! | `metadata` | what a provider says of itself |
//! | `keys` | the keys with which it signs, and signatures |
//! | `token` | ID tokens: what must be in them |
//! | `provider` | one provider, with what is kept of its answers |

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod error;
mod fetch;
mod keys;
mod metadata;
mod provider;
mod token;

pub use error::{OpenIdError, one_line};
pub use provider::{Asked, Provider, Returned, Settings, challenge_of};
pub use token::Identity;
