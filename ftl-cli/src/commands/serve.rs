//! `ftl serve`: a Controller until somebody asks it to end. What it started goes on, and the next one adopts it.

use std::path::Path;

use serde_json::json;

use crate::app::ServeArgs;
use crate::commands::Requests;
use crate::endpoint::data_or_default;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{Format, Output};
use crate::serving::{Instances, Listen, Serving};

pub(super) async fn run(args: ServeArgs, output: Output) -> Result<Exit, CliError> {
    let data = data_or_default(args.data)?;
    let mut requests = Requests::watch()?;
    let listen = Listen { cluster: args.cluster, admin: args.listen, or_free: false, ingress: args.ingress };
    let mut serving = Serving::start(&data, listen, Instances::Detached).await?;
    let (url, token) = (serving.url(), serving.handle.token_path().to_owned());
    let ingress = serving.handle.ingress().map(|address| format!("http://{address}"));
    match output.format {
        Format::Text => {
            let open = ingress.map(|url| format!(" · ingress {url}")).unwrap_or_default();
            output.note(&format!("controller {url}{open} · token {} · ^C stops it", token.display()));
        }
        Format::Json => output.data(&json!({
            "controller": url,
            "ingress": ingress,
            "token_file": token,
            "pid": std::process::id(),
        }))?,
    }
    tokio::select! {
        exit = requests.asked_to_end() => {
            let outliving = serving.stop().await?;
            output.note(&farewell(outliving, &data));
            Ok(exit)
        }
        error = serving.ended() => Err(error),
    }
}

/// What goes on, and how it ends.
fn farewell(outliving: usize, data: &Path) -> String {
    let replicas = match outliving {
        0 => return "nothing goes on without it".to_owned(),
        1 => "1 replica goes on without it".to_owned(),
        more => format!("{more} replicas go on without it"),
    };
    let down = format!("ftl down --data {}", data.display());
    format!("{replicas} and can be called when it is back · `{down}` ends what goes on")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_told_with_the_way_to_end_it() {
        let data = Path::new("/var/lib/ftl");
        insta::assert_snapshot!(farewell(2, data), @"2 replicas go on without it and can be called when it is back · `ftl down --data /var/lib/ftl` ends what goes on");
        assert!(farewell(1, data).starts_with("1 replica goes on"));
        assert_eq!(farewell(0, data), "nothing goes on without it");
    }
}
