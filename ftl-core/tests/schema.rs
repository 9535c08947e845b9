//! Properties of the schema: its JSON form, its hash, its text, and the check of values against it.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use ftl_core::name::VerbRef;
use ftl_core::schema::{
    Definition, Direction, Field, Fields, Module, Shape, Tagging, Type, TypeName, Variant, Verb, Visibility,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// The named types that every module here defines, from the simplest on: a type names only those before it, or itself
/// behind something that may be absent.
const NAMES: usize = 4;

fn name(index: usize) -> TypeName {
    format!("shop.Type{index}").parse().unwrap()
}

/// A type that may name the first `named` of the named types.
fn ty(named: usize) -> BoxedStrategy<Type> {
    let bits = prop::sample::select(vec![8u8, 16, 32, 64]);
    let mut leaves = vec![
        Just(Type::Unit).boxed(),
        Just(Type::Bool).boxed(),
        Just(Type::Char).boxed(),
        Just(Type::Text).boxed(),
        Just(Type::Any).boxed(),
        prop::sample::select(vec![32u8, 64]).prop_map(|bits| Type::Float { bits }).boxed(),
        (bits, any::<bool>()).prop_map(|(bits, signed)| Type::Int { bits, signed }).boxed(),
    ];
    if named > 0 {
        leaves.push((0..named).prop_map(|index| Type::Named(name(index))).boxed());
    }
    let leaf = prop::strategy::Union::new(leaves);
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|ty| Type::Optional(Box::new(ty))),
            inner.clone().prop_map(|ty| Type::List(Box::new(ty))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Type::Tuple),
            inner.prop_map(|ty| Type::Map(Box::new(Type::Text), Box::new(ty))),
        ]
    })
    .boxed()
}

fn fields(named: usize) -> BoxedStrategy<Fields> {
    let field = (ty(named), any::<bool>(), "[a-z ]{0,10}");
    prop_oneof![
        Just(Fields::Unit),
        ty(named).prop_map(Fields::Newtype),
        prop::collection::vec(ty(named), 1..4).prop_map(Fields::Tuple),
        prop::collection::vec(field, 0..4).prop_map(|fields| {
            let named = fields.into_iter().enumerate().map(|(index, (ty, optional, doc))| {
                let mut field = Field::new(format!("field{index}"), ty);
                (field.optional, field.doc) = (optional, doc);
                field
            });
            Fields::Named(named.collect())
        }),
    ]
    .boxed()
}

fn shape(named: usize) -> BoxedStrategy<Shape> {
    let tagging = prop_oneof![
        Just(Tagging::External),
        Just(Tagging::Adjacent { tag: "t".to_owned(), content: "c".to_owned() }),
    ];
    let variants = prop::collection::vec((fields(named), "[a-z ]{0,10}"), 1..4).prop_map(|all| {
        let variant = |(index, (fields, doc))| Variant::new(format!("Variant{index}"), doc, fields);
        all.into_iter().enumerate().map(variant).collect()
    });
    let tagged = (tagging, variants).prop_map(|(tagging, variants)| Shape::Enum { tagging, variants });
    prop_oneof![fields(named).prop_map(Shape::Struct), tagged].boxed()
}

fn module() -> impl Strategy<Value = Module> {
    let shapes: Vec<_> = (0..NAMES).map(shape).collect();
    let verb = (ty(NAMES), ty(NAMES), prop::option::of(ty(NAMES)), any::<bool>(), "[a-z ]{0,10}");
    (shapes, prop::collection::vec(verb, 1..4), "[a-z ]{0,10}").prop_map(|(shapes, verbs, doc)| {
        let mut module = Module::new("shop".parse().unwrap());
        module.doc = doc;
        for (index, shape) in shapes.into_iter().enumerate() {
            module.types.insert(name(index), Definition::new("", shape));
        }
        for (index, (request, reply, error, idempotent, doc)) in verbs.into_iter().enumerate() {
            let mut verb = Verb::new(format!("verb{index}").parse().unwrap());
            (verb.request, verb.reply, verb.error) = (request, reply, error);
            (verb.idempotent, verb.doc) = (idempotent, doc);
            module.verbs.push(verb);
        }
        module
    })
}

/// Some value of a type.
fn value(module: &Module, ty: &Type) -> Value {
    match ty {
        Type::Bool => json!(true),
        Type::Int { signed, .. } => json!(if *signed { -7 } else { 7 }),
        Type::Float { .. } => json!(1.5),
        Type::Char => json!("c"),
        Type::Text => json!("text"),
        Type::Any => json!({"any": ["thing"]}),
        Type::Optional(inner) => value(module, inner),
        Type::List(inner) => json!([value(module, inner)]),
        Type::Tuple(parts) => parts.iter().map(|part| value(module, part)).collect(),
        Type::Map(_, inner) => json!({"key": value(module, inner)}),
        Type::Named(name) => of_shape(module, &module.types[name].shape),
        _ => Value::Null,
    }
}

fn of_shape(module: &Module, shape: &Shape) -> Value {
    let (tagging, variant) = match shape {
        Shape::Enum { tagging, variants } => (tagging, variants.last().unwrap()),
        Shape::Struct(fields) => return of_fields(module, fields),
        _ => return Value::Null,
    };
    let (name, content) = (json!(variant.name), of_fields(module, &variant.fields));
    let unit = variant.fields == Fields::Unit;
    match tagging {
        Tagging::Adjacent { tag, .. } if unit => json!({ tag: name }),
        Tagging::Adjacent { tag, content: at } => json!({ tag: name, at: content }),
        _ if unit => name,
        _ => json!({ &variant.name: content }),
    }
}

fn of_fields(module: &Module, fields: &Fields) -> Value {
    match fields {
        Fields::Unit => Value::Null,
        Fields::Newtype(ty) => value(module, ty),
        Fields::Tuple(parts) => parts.iter().map(|part| value(module, part)).collect(),
        Fields::Named(fields) => fields
            .iter()
            .map(|field| (field.name.clone(), value(module, &field.ty)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

/// Any JSON at all.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-zA-Z0-9]{0,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let entries = prop::collection::vec(("field[0-3]|t|c|Variant[0-3]", inner.clone()), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            entries.prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_json_form_is_whole(module in module()) {
        let json = serde_json::to_string(&module).unwrap();
        prop_assert_eq!(serde_json::from_str::<Module>(&json).unwrap(), module);
    }

    #[test]
    fn the_hash_is_of_the_structure_alone(module in module()) {
        let mut documented = module.clone();
        documented.doc = "Something else.".to_owned();
        documented.verbs.iter_mut().for_each(|verb| verb.doc.push('!'));
        documented.types.values_mut().for_each(|definition| definition.doc.push('!'));
        documented.verbs.reverse();
        prop_assert_eq!(documented.hash(), module.hash());

        let changes: [fn(&mut Module); 5] = [
            |module| module.verbs[0].idempotent ^= true,
            |module| module.verbs[0].visibility = Visibility::Public,
            |module| module.verbs[0].request = Type::List(Box::new(module.verbs[0].request.clone())),
            |module| module.verbs[0].calls.push("clock.now".parse::<VerbRef>().unwrap()),
            |module| drop(module.verbs.pop()),
        ];
        for change in changes {
            let mut changed = module.clone();
            change(&mut changed);
            prop_assert_ne!(changed.hash(), module.hash());
        }
    }

    #[test]
    fn the_text_names_everything(module in module()) {
        let text = module.to_text();
        for verb in &module.verbs {
            let verb = format!("verb {}(", verb.name);
            prop_assert!(text.contains(&verb), "{}", text);
        }
        prop_assert!(module.types.keys().all(|name| text.contains(name.as_str())), "{}", text);
    }

    #[test]
    fn a_value_of_a_type_passes_and_is_missed_where_it_is_cut(module in module()) {
        for verb in &module.verbs {
            let whole = value(&module, &verb.request);
            let checked = module.check(&verb.request, &whole, Direction::Received);
            prop_assert!(checked.is_ok(), "{:?}: {}", checked, whole);
        }
        for definition in module.types.values() {
            let Shape::Struct(Fields::Named(fields)) = &definition.shape else { continue };
            let whole = of_shape(&module, &definition.shape);
            let ty = module.types.iter().find(|(_, other)| *other == definition).unwrap().0;
            for field in fields {
                let mut cut = whole.clone();
                cut.as_object_mut().unwrap().remove(&field.name);
                let checked = module.check(&Type::Named(ty.clone()), &cut, Direction::Received);
                match checked {
                    Ok(()) => prop_assert!(field.optional, "{}", cut),
                    Err(mismatch) => {
                        prop_assert!(!field.optional);
                        prop_assert_eq!(mismatch.path, format!("$.{}", field.name));
                    }
                }
            }
        }
    }

    #[test]
    fn a_check_is_total(module in module(), value in any_json()) {
        for verb in &module.verbs {
            for ty in [&verb.request, &verb.reply] {
                if let Err(mismatch) = module.check(ty, &value, Direction::Written) {
                    prop_assert!(mismatch.path.starts_with('$'));
                }
            }
        }
    }
}
