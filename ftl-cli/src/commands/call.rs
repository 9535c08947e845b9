//! `ftl call`: one verb, one reply.

use ftl_client::Client;

use crate::app::CallArgs;
use crate::commands::unless_interrupted;
use crate::error::CliError;
use crate::exit::Exit;
use crate::invoke::Invocation;
use crate::output::Output;

pub(super) async fn run(args: CallArgs, client: Client, output: Output) -> Result<Exit, CliError> {
    let invocation = Invocation::new(args.verb, &args.request)?;
    let reply = unless_interrupted(invocation.send(&client, args.timeout), "the verb may go on running");
    output.data(&reply.await?)?;
    Ok(Exit::Ok)
}
