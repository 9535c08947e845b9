//! [`Types`]: the named types of a schema while it is being put together.

use std::any::{TypeId, type_name};
use std::collections::BTreeMap;

use ftl_core::schema::{Definition, Fields, Shape, Tagging, Type, TypeName, Variant};

use crate::blueprint::Blueprint;
use crate::data::Data;

/// The named types that were met so far, and what is wrong with them.
#[derive(Debug, Default)]
pub struct Types {
    defined: BTreeMap<TypeName, Definition>,
    owners: BTreeMap<TypeName, Owner>,
    demands: Vec<Demand>,
    problems: Vec<String>,
}

/// Which Rust type a name belongs to: compared by id, shown by name.
#[derive(Debug)]
struct Owner {
    id: TypeId,
    name: &'static str,
}

/// What must be true of a type; checked when all types are known, because types may be recursive.
#[derive(Debug)]
struct Demand {
    of: Type,
    form: Form,
    problem: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Written as a string where it is the key of an object.
    Key,
    /// Written as an object that has room for a tag.
    Object,
}

impl Types {
    /// Defines a type once; a recursive type meets its own name and stops there.
    #[doc(hidden)]
    pub fn define<T: 'static>(&mut self, blueprint: &Blueprint) -> Type {
        let name: TypeName = match blueprint.name.parse() {
            Ok(name) => name,
            Err(error) => {
                self.problem(format!("{error}"));
                return Type::Any;
            }
        };
        let this = Owner { id: TypeId::of::<T>(), name: type_name::<T>() };
        match self.owners.get(&name) {
            None => {
                self.owners.insert(name.clone(), this);
                let definition = blueprint.build(self);
                self.defined.insert(name.clone(), definition);
            }
            Some(owner) if owner.id == this.id => {}
            Some(owner) => {
                let message = format!(
                    "two types are called {name}: `{}` and `{}`; name one of them `#[ftl::data(name = \"Other\")]`",
                    owner.name, this.name
                );
                self.problem(message);
            }
        }
        Type::Named(name)
    }

    pub(crate) fn optional<T: Data>(&mut self) -> Type {
        let inner = T::describe(self);
        if matches!(inner, Type::Optional(_) | Type::Unit) {
            let message = format!(
                "`Option<{}>` has a value that JSON cannot tell from `None`: use an enum",
                type_name::<T>()
            );
            self.problem(message);
        }
        Type::Optional(Box::new(inner))
    }

    pub(crate) fn map<K: Data, V: Data>(&mut self) -> Type {
        let (key, value) = (K::describe(self), V::describe(self));
        let problem =
            format!("`{}` cannot be the key of a map: it is not written as a string", type_name::<K>());
        self.demands.push(Demand { of: key.clone(), form: Form::Key, problem });
        Type::Map(Box::new(key), Box::new(value))
    }

    pub(crate) fn must_be_object(&mut self, content: &Type, place: String) {
        let problem =
            format!("{place}, and {content} has no room for it: name its fields, or use `content` too");
        self.demands.push(Demand { of: content.clone(), form: Form::Object, problem });
    }

    pub(crate) fn problem(&mut self, message: String) {
        if !self.problems.contains(&message) {
            self.problems.push(message);
        }
    }

    /// Every definition, or everything that is wrong.
    pub(crate) fn finish(mut self) -> Result<BTreeMap<TypeName, Definition>, Vec<String>> {
        for demand in std::mem::take(&mut self.demands) {
            if !self.has_form(&demand.of, demand.form, 0) {
                self.problem(demand.problem);
            }
        }
        if self.problems.is_empty() { Ok(self.defined) } else { Err(self.problems) }
    }

    fn has_form(&self, ty: &Type, form: Form, depth: usize) -> bool {
        let Type::Named(name) = ty else { return form.holds_for(ty) };
        // Newtypes around each other could go round for ever.
        let known = self.defined.get(name).filter(|_| depth <= self.defined.len());
        match known.map(|definition| &definition.shape) {
            Some(Shape::Struct(Fields::Newtype(inner))) => self.has_form(inner, form, depth + 1),
            Some(Shape::Struct(fields)) => form == Form::Object && matches!(fields, Fields::Named(_)),
            Some(Shape::Enum { tagging, variants }) => match form {
                Form::Key => *tagging == Tagging::External && variants.iter().all(is_unit),
                Form::Object => *tagging != Tagging::External,
            },
            _ => false,
        }
    }
}

impl Form {
    fn holds_for(self, ty: &Type) -> bool {
        match self {
            Self::Key => matches!(ty, Type::Bool | Type::Char | Type::Int { .. } | Type::Text),
            Self::Object => matches!(ty, Type::Map(..) | Type::Any),
        }
    }
}

fn is_unit(variant: &Variant) -> bool {
    variant.fields == Fields::Unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blueprint::{self, Absence, Field};
    use std::collections::{BTreeMap, HashMap};

    const UNIT: Blueprint =
        Blueprint { name: "shop.Unit", docs: "", shape: blueprint::Shape::Struct(blueprint::Fields::Unit) };

    fn problems(build: impl FnOnce(&mut Types)) -> Vec<String> {
        let mut types = Types::default();
        build(&mut types);
        types.finish().err().unwrap_or_default()
    }

    #[test]
    fn one_name_belongs_to_one_type() {
        struct First;
        struct Second;
        let twice = problems(|types| {
            types.define::<First>(&UNIT);
            types.define::<First>(&UNIT);
        });
        assert!(twice.is_empty(), "the same type may be met again");
        let two = problems(|types| {
            types.define::<First>(&UNIT);
            types.define::<Second>(&UNIT);
        });
        assert_eq!(two.len(), 1);
        assert!(two[0].contains("two types are called shop.Unit") && two[0].contains("Second"), "{two:?}");
        assert!(two[0].contains("#[ftl::data(name = \"Other\")]"), "{two:?}");
    }

    #[test]
    fn what_json_cannot_tell_apart_is_refused() {
        let found = problems(|types| {
            Option::<Option<u8>>::describe(types);
            Option::<()>::describe(types);
            Option::<Vec<Option<u8>>>::describe(types);
        });
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn keys_are_written_as_strings() {
        let fine = problems(|types| {
            BTreeMap::<String, u8>::describe(types);
            HashMap::<char, u8>::describe(types);
            BTreeMap::<i64, u8>::describe(types);
            BTreeMap::<Box<bool>, u8>::describe(types);
        });
        assert!(fine.is_empty(), "{fine:?}");
        let found = problems(|types| {
            BTreeMap::<(u8, u8), u8>::describe(types);
            BTreeMap::<Vec<u8>, u8>::describe(types);
            BTreeMap::<Option<u8>, u8>::describe(types);
        });
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("cannot be the key of a map"), "{found:?}");
    }

    #[test]
    fn a_tag_inside_needs_an_object() {
        struct Tagged;
        const fn variant(content: blueprint::Describe) -> blueprint::Variant {
            blueprint::Variant { name: "V", docs: "", fields: blueprint::Fields::Newtype(content) }
        }
        const VARIANTS: &[blueprint::Variant] =
            &[variant(BTreeMap::<String, u8>::describe), variant(u8::describe)];
        let tagging = blueprint::Tagging::Internal { tag: "kind" };
        let shape = blueprint::Shape::Enum { tagging, variants: VARIANTS };
        let found = problems(|types| {
            types.define::<Tagged>(&Blueprint { name: "shop.Tagged", docs: "", shape });
        });
        let problem = "the variant `V` of shop.Tagged has its tag `kind` inside, and u8 has no room for it: \
                       name its fields, or use `content` too";
        assert_eq!(found, [problem]);
    }

    #[test]
    fn what_may_be_left_out_may_be_missing() {
        struct Order;
        let with = |absence, may_be_skipped| {
            let field = Field { name: "id", docs: "", describe: u8::describe, absence, may_be_skipped };
            problems(|types| {
                let mut built = Types::default();
                let shape = blueprint::Shape::Struct(blueprint::Fields::Named(Box::leak(Box::new([field]))));
                built.define::<Order>(&Blueprint { name: "shop.Order", docs: "", shape });
                *types = built;
            })
        };
        assert!(with(Absence::Accepted, true).is_empty());
        assert!(with(Absence::Ask(|| false), false).is_empty());
        assert!(with(Absence::Ask(|| true), true).is_empty());
        assert!(with(Absence::Ask(|| false), true)[0].contains("add `#[serde(default)]`"));
    }
}
