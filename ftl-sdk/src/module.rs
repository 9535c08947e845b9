//! [`Module`]: what a module serves, as a constant.

use ftl_core::schema::{self, Verb};

use crate::param::Declaration;
use crate::types::Types;
use crate::verb::Definition;

/// A module: its name and its verbs. `ftl::module!` makes the constant `MODULE` of this type.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    name: &'static str,
    docs: &'static str,
    verbs: &'static [&'static Definition],
}

/// Why a module has no schema: everything that is wrong with it, one line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the module `{module}` has no schema:\n  {}", problems.join("\n  "))]
#[non_exhaustive]
pub struct SchemaError {
    /// The module.
    pub module: String,
    /// What is wrong with it.
    pub problems: Vec<String>,
}

impl Module {
    pub(crate) const fn new(
        name: &'static str,
        docs: &'static str,
        verbs: &'static [&'static Definition],
    ) -> Self {
        Self { name, docs, verbs }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn verbs(&self) -> &'static [&'static Definition] {
        self.verbs
    }

    /// What it offers and uses, out of the same compile as its code.
    ///
    /// # Errors
    /// When two verbs or two types have one name, or a type has a value without a JSON form.
    pub fn schema(&self) -> Result<schema::Module, SchemaError> {
        let refused = |problems| SchemaError { module: self.name.to_owned(), problems };
        let name = self.name.parse().map_err(|error| refused(vec![format!("{error}")]))?;
        let mut module = schema::Module::new(name);
        self.docs.clone_into(&mut module.doc);
        let (mut types, mut problems) = (Types::default(), Vec::new());
        for definition in self.verbs {
            match describe(definition, &mut types) {
                Ok(verb) => module.verbs.push(verb),
                Err(problem) => problems.push(problem),
            }
        }
        module.verbs.sort_by(|a, b| a.name.cmp(&b.name));
        for pair in module.verbs.windows(2).filter(|pair| pair[0].name == pair[1].name) {
            problems.push(format!("two verbs are called `{}`: rename one of them", pair[0].name));
        }
        match types.finish() {
            Ok(defined) => module.types = defined,
            Err(more) => problems.extend(more),
        }
        if problems.is_empty() { Ok(module) } else { Err(refused(problems)) }
    }
}

fn describe(definition: &Definition, types: &mut Types) -> Result<Verb, String> {
    let mut verb = Verb::new(definition.name.parse().map_err(|error| format!("{error}"))?);
    definition.docs.clone_into(&mut verb.doc);
    verb.visibility = definition.visibility;
    (definition.describe)(&mut verb, types);
    let mut declaration = Declaration::default();
    (definition.declare)(&mut declaration);
    verb.calls = declaration.into_calls()?;
    Ok(verb)
}

/// One module is a list of one.
impl AsRef<[Self]> for Module {
    fn as_ref(&self) -> &[Self] {
        std::slice::from_ref(self)
    }
}
