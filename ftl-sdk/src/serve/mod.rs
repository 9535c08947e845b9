//! Modules served: to a Runner, as the whole `main` of a binary, or inside a process.

mod blocking;
mod current;
mod inherited;
mod logging;
mod process;
mod run;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use ftl_core::deployment::SDK_PROTOCOL;
use ftl_core::{VerbService, schema};

use crate::module::Module;
use process::{Nowhere, Process};

/// Tells the process that its standard input is its Runner, and which protocol to speak.
const DEPLOYMENT_VARIABLE: &str = "FTL_DEPLOYMENT";
/// The exit code of a command line that makes no sense.
const USAGE: u8 = 64;

/// Serves a module to the Runner that started this process; the whole `main` of a module's binary.
///
/// ```rust,no_run,standalone_crate
/// # ftl::module! { verbs: [] }
/// fn main() -> std::process::ExitCode {
///     ftl::serve(MODULE) // in a real `main.rs`: ftl::serve(greeter::MODULE)
/// }
/// ```
///
/// Of several modules, the first is the one that is deployed; calls to the others stay in this process.
///
/// Without a Runner it says what it is: `--schema` prints the schema as JSON, anything else names `ftl dev` and exits
/// with code 64.
#[must_use = "the exit code says whether it went well: return it from `main`"]
pub fn serve(modules: impl AsRef<[Module]>) -> ExitCode {
    let modules = modules.as_ref();
    let outcome = match Mode::of(std::env::args_os().skip(1), std::env::var_os(DEPLOYMENT_VARIABLE)) {
        Mode::PrintSchema => described(modules).and_then(|schema| print(&schema)),
        Mode::Serve => described(modules).and_then(|schema| run::run(modules, &schema)),
        Mode::WrongProtocol(asked) => Err(format!(
            "the runner speaks protocol {asked}, this binary speaks {SDK_PROTOCOL}: \
             build it with an `ftl-sdk` of the runner's version"
        )),
        Mode::Explain => {
            say(&explanation(modules));
            return ExitCode::from(USAGE);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            say(&format!("error: {problem}"));
            ExitCode::FAILURE
        }
    }
}

/// Modules in this process, as a service: what they do in a system, without a system around them.
///
/// For tests of several modules together, and for applications that have modules inside. A call to any other module
/// is `not_found`.
///
/// ```rust,standalone_crate
/// ftl::module! { verbs: [double] }
///
/// /// Doubles a number.
/// #[ftl::verb]
/// pub async fn double(number: u32) -> u32 {
///     number * 2
/// }
///
/// # fn main() {
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// # runtime.block_on(async {
/// let double: ftl::Client<double> = ftl::Client::over(ftl::in_process(MODULE));
/// assert_eq!(double.call(21).await.unwrap(), 42);
/// # });
/// # }
/// ```
#[must_use]
pub fn in_process(modules: impl AsRef<[Module]>) -> Arc<dyn VerbService> {
    let process = Process::new(modules.as_ref());
    process.connect(Arc::new(Nowhere));
    process
}

/// What the process was started for.
#[derive(Debug, PartialEq, Eq)]
enum Mode {
    PrintSchema,
    Serve,
    WrongProtocol(String),
    Explain,
}

impl Mode {
    fn of(mut arguments: impl Iterator<Item = OsString>, deployment: Option<OsString>) -> Self {
        match (arguments.next(), arguments.next(), deployment) {
            (Some(only), None, _) if only == "--schema" => Self::PrintSchema,
            (None, _, Some(protocol)) if protocol == *SDK_PROTOCOL.to_string() => Self::Serve,
            (None, _, Some(protocol)) => Self::WrongProtocol(protocol.to_string_lossy().into_owned()),
            _ => Self::Explain,
        }
    }
}

/// The schema of what is deployed. All modules are looked at: a process serves all of them or none.
fn described(modules: &[Module]) -> Result<schema::Module, String> {
    let mut names = BTreeSet::new();
    if let Some(twice) = modules.iter().find(|module| !names.insert(module.name())) {
        return Err(format!("two modules are called `{}`: rename the package of one", twice.name()));
    }
    let mut schemas = Vec::new();
    for module in modules {
        schemas.push(module.schema().map_err(|error| error.to_string())?);
    }
    schemas.into_iter().next().ok_or_else(|| "no module was given to `ftl::serve`".to_owned())
}

fn print(schema: &schema::Module) -> Result<(), String> {
    let cannot = |error: &dyn std::fmt::Display| format!("the schema cannot be printed: {error}");
    let json = serde_json::to_string(schema).map_err(|error| cannot(&error))?;
    writeln!(std::io::stdout(), "{json}").map_err(|error| cannot(&error))
}

fn explanation(modules: &[Module]) -> String {
    let mut text = String::new();
    for module in modules {
        let verbs: Vec<&str> = module.verbs().iter().map(|verb| verb.name).collect();
        text +=
            &format!("This is the FTL module `{}` with the verbs: {}.\n", module.name(), verbs.join(", "));
    }
    text + "It serves when a runner starts it: use `ftl dev`. `--schema` prints its schema."
}

fn say(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(arguments: &[&str], deployment: Option<&str>) -> Mode {
        Mode::of(arguments.iter().map(OsString::from), deployment.map(OsString::from))
    }

    #[test]
    fn a_runner_is_known_by_its_variable_alone() {
        assert_eq!(mode(&[], Some("1")), Mode::Serve);
        assert_eq!(mode(&[], Some("7")), Mode::WrongProtocol("7".to_owned()));
        assert_eq!(mode(&["--schema"], None), Mode::PrintSchema);
        assert_eq!(mode(&["--schema"], Some("1")), Mode::PrintSchema);
        for arguments in [&[][..], &["--help"], &["--schema", "x"]] {
            assert_eq!(mode(arguments, None), Mode::Explain);
        }
    }

    #[test]
    fn two_modules_of_one_name_are_refused() {
        let module = Module::new("clock", "", &[]);
        assert!(described(&[module]).is_ok());
        assert_eq!(
            described(&[module, module]).unwrap_err(),
            "two modules are called `clock`: rename the package of one"
        );
        assert!(described(&[]).is_err());
    }
}
