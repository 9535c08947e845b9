//! `ftl call`: one verb, one reply.

use ftl_client::Client;

use crate::app::CallArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::invoke::Invocation;
use crate::output::Output;

pub(super) async fn run(args: CallArgs, client: Client, output: Output) -> Result<Exit, CliError> {
    let invocation = Invocation::new(args.verb, &args.request)?;
    output.data(&invocation.send(&client, args.timeout).await?);
    Ok(Exit::Ok)
}
