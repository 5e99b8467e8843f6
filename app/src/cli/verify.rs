//! `simsim verify`: whether a datastore, or one saveset, is what it should be.

use simsim_server::api::{JobReply, VerifyDepth, VerifyRequest};

use super::context::Context;
use super::follow;
use super::reference;
use crate::exit::Failure;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Only what this saveset needs, every byte and name of it; named as for 'simsim ls' [default:
    /// all of the datastore]
    saveset: Option<String>,
    /// Read every byte and check every name, where the server has the key; without it, packs,
    /// index and manifests are held against each other and every checksum is checked
    #[arg(long)]
    bytes: bool,
    /// The datastore; of a saveset that has copies, the one to check [default: that of the saveset, or
    /// the only one]
    #[arg(long)]
    datastore: Option<String>,
    /// Hand the keys to a device on another host for this check, so that it can check the names too
    #[arg(long, requires = "bytes")]
    keys_to_device: bool,
    /// Do not wait for the end
    #[arg(long)]
    detach: bool,
}

pub async fn run(cx: &Context, arguments: Arguments) -> Result<u8, Failure> {
    let saveset = match &arguments.saveset {
        Some(named) => Some(reference::resolve(cx, named).await?.saveset.to_string()),
        None => None,
    };
    let request = VerifyRequest {
        datastore: arguments.datastore,
        saveset,
        depth: if arguments.bytes { VerifyDepth::Bytes } else { VerifyDepth::Structure },
        keys_to_device: arguments.keys_to_device,
    };
    let reply: JobReply = cx.ask("datastore.verify", &request).await?;
    follow::run_to_end(cx, reply, arguments.detach).await
}
