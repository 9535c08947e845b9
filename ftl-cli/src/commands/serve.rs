//! `ftl serve`: a Controller until somebody asks it to end.

use serde_json::json;

use crate::app::ServeArgs;
use crate::commands::Requests;
use crate::endpoint::default_data;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{Format, Output};
use crate::serving::{Listen, Serving};

pub(super) async fn run(args: ServeArgs, output: Output) -> Result<Exit, CliError> {
    let data = args.data.or_else(default_data).ok_or_else(|| {
        CliError::usage("there is no home directory for the Controller's state")
            .hint("name a folder with --data")
    })?;
    let mut requests = Requests::watch()?;
    let listen = Listen { cluster: args.cluster, admin: args.listen, or_free: false, ingress: args.ingress };
    let mut serving = Serving::start(&data, listen).await?;
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
            serving.stop().await?;
            Ok(exit)
        }
        error = serving.ended() => Err(error),
    }
}
