//! `ftl logs`: what modules wrote.

use ftl_client::Client;
use ftl_core::Operator;
use ftl_core::controller::{LogLine, LogQuery};
use futures_util::StreamExt;
use serde_json::json;

use crate::app::LogsArgs;
use crate::commands::Requests;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

pub(super) async fn run(args: LogsArgs, client: Client, output: Output) -> Result<Exit, CliError> {
    let mut query = LogQuery::all();
    (query.module, query.tail, query.follow) = (args.module, args.tail, args.follow);
    let mut requests = Requests::watch()?;
    let mut lines = client.logs(query).await?;
    loop {
        tokio::select! {
            exit = requests.asked_to_end() => return Ok(exit),
            line = lines.next() => match line {
                Some(line) => show(&line?, output)?,
                None => return Ok(Exit::Ok),
            },
        }
    }
}

fn show(line: &LogLine, output: Output) -> Result<(), CliError> {
    if line.line.lost_bytes > 0 {
        output.note(&format!("{}-{} … {} bytes were lost", line.module, line.runner, line.line.lost_bytes));
    }
    output.result(&format!("{}-{} {}", line.module, line.runner, line.line.text), &json!(line))
}
