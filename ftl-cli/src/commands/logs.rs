//! `ftl logs`: what modules wrote.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ftl_client::Client;
use ftl_core::Operator;
use ftl_core::controller::{LogLine, LogQuery};
use ftl_core::key::RunnerKey;
use ftl_core::name::PlatformName;
use futures_util::StreamExt;
use serde_json::json;

use crate::app::LogsArgs;
use crate::commands::Requests;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

/// How often at most it is asked again where replicas are.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn run(args: LogsArgs, client: Client, output: Output) -> Result<Exit, CliError> {
    let mut query = LogQuery::all();
    (query.module, query.tail, query.follow) = (args.module, args.tail, args.follow);
    let mut requests = Requests::watch()?;
    let mut lines = client.logs(query).await?;
    let mut places = Places::new(client);
    loop {
        tokio::select! {
            exit = requests.asked_to_end() => return Ok(exit),
            line = lines.next() => match line {
                Some(line) => {
                    let line = line?;
                    show(&line, places.of(line.runner).await, output)?;
                }
                None => return Ok(Exit::Ok),
            },
        }
    }
}

/// Where a replica runs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    platform: PlatformName,
    name: Option<String>,
}

/// Where replicas run, as far as the Controller still knows it.
#[derive(Debug)]
struct Places {
    client: Client,
    known: HashMap<RunnerKey, Place>,
    asked: Option<Instant>,
}

impl Places {
    fn new(client: Client) -> Self {
        Self { client, known: HashMap::new(), asked: None }
    }

    async fn of(&mut self, runner: RunnerKey) -> Option<&Place> {
        let asked_lately = self.asked.is_some_and(|asked| asked.elapsed() < LOOK);
        if !self.known.contains_key(&runner) && !asked_lately {
            self.asked = Some(Instant::now());
            // Lines are shown also when this is not answered.
            for module in self.client.status().await.unwrap_or_default() {
                let place = |name| Place { platform: module.platform.clone(), name };
                let replicas = module.replicas.iter();
                self.known.extend(replicas.map(|replica| (replica.runner, place(replica.place.clone()))));
            }
        }
        self.known.get(&runner)
    }
}

fn show(line: &LogLine, place: Option<&Place>, output: Output) -> Result<(), CliError> {
    let whose = whose(line, place);
    if line.line.lost_bytes > 0 {
        output.note(&format!("{whose} … {} bytes were lost", line.line.lost_bytes));
    }
    let mut json = json!(line);
    if let Some(place) = place {
        json["platform"] = json!(place.platform);
        json["place"] = json!(place.name);
    }
    output.result(&format!("{whose} {}", line.line.text), &json)
}

/// The replica that wrote a line, as `clock-7 [docker/ftl-c1-clock-7]`.
fn whose(line: &LogLine, place: Option<&Place>) -> String {
    let replica = format!("{}-{}", line.module, line.runner);
    match place {
        None => replica,
        Some(Place { platform, name: None }) => format!("{replica} [{platform}]"),
        Some(Place { platform, name: Some(name) }) => format!("{replica} [{platform}/{name}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ftl_core::runner::{OutputLine, Stream};

    #[test]
    fn a_line_says_who_wrote_it_and_where() {
        let line =
            LogLine::new("clock".parse().unwrap(), RunnerKey(7), OutputLine::new(1, Stream::Stdout, "hi"));
        let place =
            |name: Option<&str>| Place { platform: "docker".parse().unwrap(), name: name.map(str::to_owned) };
        assert_eq!(whose(&line, None), "clock-7");
        assert_eq!(whose(&line, Some(&place(None))), "clock-7 [docker]");
        assert_eq!(whose(&line, Some(&place(Some("ftl-c1-clock-7")))), "clock-7 [docker/ftl-c1-clock-7]");
    }
}
