//! Which verb may call what: the call graph of a module, ready to be asked on the path of every call.

use std::collections::{BTreeMap, BTreeSet};

use super::Module;
use crate::failure::{Code, Failure};
use crate::name::RESERVED_MODULE;

/// The calls that a module declares.
///
/// * a verb may call what its parameters declare, and nothing else;
/// * a call names the verb that makes it, and that verb is one of the module's own: nobody names himself another.
///
/// ```
/// use ftl_core::schema::{Module, Verb};
/// let mut greeter = Module::new("greeter".parse().unwrap());
/// let mut hello = Verb::new("hello".parse().unwrap());
/// hello.calls = vec!["clock.now".parse().unwrap()];
/// greeter.verbs.push(hello);
/// let edges = greeter.call_edges();
/// assert!(edges.check("clock.now", Some("greeter.hello")).is_ok());
/// assert!(edges.check("clock.now", Some("clock.tick")).is_err());
/// assert!(edges.check("clock.set", Some("greeter.hello")).is_err());
/// ```
#[derive(Clone, Debug)]
pub struct CallEdges {
    module: String,
    /// Target → the verbs that declare that they call it, both as `module.verb`.
    callers: BTreeMap<String, BTreeSet<String>>,
}

impl Module {
    /// The calls that this module declares.
    #[must_use]
    pub fn call_edges(&self) -> CallEdges {
        let mut callers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for verb in &self.verbs {
            for callee in &verb.calls {
                let caller = format!("{}.{}", self.name, verb.name);
                callers.entry(callee.to_string()).or_default().insert(caller);
            }
        }
        CallEdges { module: self.name.to_string(), callers }
    }
}

impl CallEdges {
    /// Whether `caller` may call `target`, both as `module.verb`.
    ///
    /// # Errors
    /// `permission_denied`, not started, with what to declare.
    pub fn check(&self, target: &str, caller: Option<&str>) -> Result<(), Failure> {
        let module = &self.module;
        let why = match (self.callers.get(target), caller) {
            (Some(callers), Some(caller)) if callers.contains(caller) => return Ok(()),
            _ if target.split_once('.').is_some_and(|(module, _)| module == RESERVED_MODULE) => {
                "the module `ftl` is reserved for control messages and cannot be called".to_owned()
            }
            (None, _) => format!(
                "module `{module}` does not declare that it calls `{target}`: take a `Client<{}>` as a parameter",
                target.replace('.', "::")
            ),
            (Some(_), Some(caller)) => format!("`{caller}` does not declare that it calls `{target}`"),
            (Some(_), None) => format!("a call of module `{module}` must name the verb that makes it"),
        };
        Err(Failure::new(Code::PermissionDenied, why).not_started(false))
    }
}
