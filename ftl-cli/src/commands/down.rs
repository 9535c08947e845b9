//! `ftl down`: ends what outlived the Controllers of a data directory.

use ftl_controller::PlatformEnded;
use serde_json::json;

use crate::app::DownArgs;
use crate::endpoint::data_or_default;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;
use crate::serving::end_instances;

pub(super) async fn run(args: DownArgs, output: Output) -> Result<Exit, CliError> {
    let ended = end_instances(&data_or_default(args.data)?).await?;
    let platforms: Vec<_> = ended
        .iter()
        .map(|ended| json!({"platform": ended.platform, "ended": ended.ended, "left": ended.left}))
        .collect();
    output.result(&text(&ended), &json!({ "platforms": platforms }))?;
    let left: Vec<String> = ended
        .iter()
        .flat_map(|ended| ended.left.iter().map(|left| format!("{}: {left}", ended.platform)))
        .collect();
    if left.is_empty() {
        return Ok(Exit::Ok);
    }
    Err(CliError::failed(format!("something is left: {}", left.join("; "))).hint("run this again"))
}

fn text(ended: &[PlatformEnded]) -> String {
    let line = |ended: &PlatformEnded| match ended.ended {
        1 => format!("{}: 1 instance ended", ended.platform),
        many => format!("{}: {many} instances ended", ended.platform),
    };
    ended.iter().map(line).collect::<Vec<_>>().join("\n")
}
