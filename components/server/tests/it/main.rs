//! The Server with real listeners, a real device and real clients on this host.

mod audit;
mod backups;
mod browsing;
mod calls;
mod certificates;
mod enrolment;
mod hosts;
mod identity_providers;
mod keys;
mod liars;
mod losses;
mod ports;
mod probes;
mod queue;
mod rates;
mod retention;
mod revoked;
mod rights;
mod suite;
