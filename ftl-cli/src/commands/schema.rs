//! `ftl schema`: what the modules that serve offer.

use ftl_client::Client;
use ftl_core::Operator;
use ftl_core::name::nearest;
use ftl_core::schema::Module;
use serde_json::json;

use crate::app::SchemaCommand;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

pub(super) async fn run(command: SchemaCommand, client: Client, output: Output) -> Result<Exit, CliError> {
    let SchemaCommand::Get { module } = command;
    let mut schemas = client.schemas().await?;
    if let Some(wanted) = module {
        if !schemas.iter().any(|schema| schema.name == wanted) {
            let near = nearest(wanted.as_str(), schemas.iter().map(|schema| schema.name.as_str()));
            let error = CliError::new(Exit::Failed, "not_found", format!("no module `{wanted}` serves"));
            return Err(match near {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            });
        }
        schemas.retain(|schema| schema.name == wanted);
    }
    let text: Vec<String> = schemas.iter().map(Module::to_text).collect();
    output.result(text.join("\n").trim_end(), &json!({ "modules": schemas }))?;
    Ok(Exit::Ok)
}
