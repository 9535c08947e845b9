//! Every form of data: what is written is what the schema says and what is read, and what may be missing is what the
//! schema says, too. serde is asked in each case; nothing here repeats its rules.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::Arc;

use ftl::schema::{Direction, Fields, Module, Shape, Type};
use ftl::{Data, Types};
use proptest::prelude::*;
use serde_json::{Value, json};

ftl::module! { verbs: [everything] }

/// Takes every type of this file, so that the schema has them all.
#[ftl::verb]
pub async fn everything(all: Everything) -> Everything {
    all
}

/// Every type of this file.
#[ftl::data]
#[allow(missing_docs, reason = "names say it")]
pub struct Everything {
    pub basic: Basic,
    pub all_default: AllDefault,
    pub wrapped: Wrapped,
    pub external: External,
    pub internal: Internal,
    pub adjacent: Adjacent,
    pub tree: Tree,
    pub maps: Maps,
    pub numbers: Numbers,
    pub containers: Containers,
}

/// Renamed, skipped, optional and default fields.
#[ftl::data]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "names say it")]
pub struct Basic {
    pub snake_name: u8,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip)]
    pub hidden: u8,
    #[serde(default)]
    pub with_default: u8,
    pub maybe: Option<u8>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<char>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<bool>,
    pub any: Value,
}

/// A default for every field.
#[ftl::data]
#[derive(Default)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "names say it")]
pub struct AllDefault {
    pub a: u8,
    pub b: String,
}

/// A number with a name.
#[ftl::data]
#[derive(Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u64);

/// A newtype of an option: it may not be missing, unlike the option itself.
#[ftl::data]
pub struct NewOption(pub Option<u8>);

/// A transparent option: it may be missing.
#[ftl::data]
#[serde(transparent)]
pub struct ClearOption {
    /// The option.
    pub inner: Option<u8>,
}

/// Something with an `@`.
#[ftl::data]
#[serde(try_from = "String", into = "String")]
pub struct Email(String);

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0
    }
}

impl TryFrom<String> for Email {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.contains('@') { Ok(Self(text)) } else { Err("no @") }
    }
}

/// Nothing.
#[ftl::data]
pub struct Unit;

/// An object without fields.
#[ftl::data]
pub struct Empty {}

/// A tuple of which one part stays here.
#[ftl::data]
pub struct Pair(pub i32, #[serde(skip)] pub u8, pub String);

/// Everything that wraps something.
#[ftl::data]
#[allow(missing_docs, reason = "names say it")]
pub struct Wrapped {
    pub id: Id,
    pub new_option: NewOption,
    pub clear_option: ClearOption,
    pub email: Email,
    pub unit: Unit,
    pub empty: Empty,
    pub pair: Pair,
    pub nothing: (),
}

/// Tagged from outside.
#[ftl::data]
#[serde(rename_all = "snake_case", rename_all_fields = "camelCase")]
#[allow(missing_docs, reason = "names say it")]
pub enum External {
    UnitOne,
    NewType(Id),
    TupleTwo(u8, String),
    StructOne {
        some_field: Option<u8>,
    },
    EmptyStruct {},
    #[serde(skip)]
    Never(std::time::Duration),
}

/// Tagged inside.
#[ftl::data]
#[serde(tag = "kind")]
#[allow(missing_docs, reason = "names say it")]
pub enum Internal {
    Unit,
    New(AllDefault),
    Nested(Adjacent),
    Struct { b: Vec<u8> },
}

/// Tagged beside.
#[ftl::data]
#[serde(tag = "t", content = "c")]
#[allow(missing_docs, reason = "names say it")]
pub enum Adjacent {
    Unit,
    New(u8),
    Tuple(u8, bool),
    Struct { x: u8 },
}

/// Contains itself.
#[ftl::data]
#[allow(missing_docs, reason = "names say it")]
pub struct Tree {
    pub value: u8,
    pub left: Option<Box<Self>>,
    pub rest: Vec<Tree>,
}

/// A key of a map.
#[ftl::data]
#[derive(Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "names say it")]
pub enum Key {
    One,
    Two,
}

/// Everything that can be a key.
#[ftl::data]
#[allow(missing_docs, reason = "names say it")]
pub struct Maps {
    pub by_number: BTreeMap<u32, String>,
    pub by_key: BTreeMap<Key, u8>,
    pub by_flag: HashMap<bool, u8>,
    pub by_id: BTreeMap<Id, ()>,
    pub by_char: HashMap<char, Unit>,
}

/// Every number.
#[ftl::data]
#[allow(missing_docs, reason = "names say it")]
pub struct Numbers {
    pub small: (i8, u8, i16, u16),
    pub large: (i32, u32, i64, u64),
    pub f32: f32,
    pub f64: f64,
}

/// An alias is what it stands for.
pub type Pairs = Vec<(char, Box<u8>)>;

/// Everything that holds others.
#[ftl::data]
#[allow(missing_docs, reason = "names say it")]
pub struct Containers {
    pub set: BTreeSet<Id>,
    pub shared: Arc<Empty>,
    pub one: (u8,),
    pub deep: Vec<Option<Pairs>>,
}

fn schema() -> Module {
    MODULE.schema().unwrap()
}

fn written<T: Data>(value: &T) -> Value {
    // Through text, as on a wire.
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

/// Written as the schema says, and read back.
fn agrees<T: Data + Debug + PartialEq>(schema: &Module, value: &T) -> Result<(), TestCaseError> {
    let (ty, json) = (T::describe(&mut Types::default()), written(value));
    for direction in [Direction::Written, Direction::Received] {
        schema.check(&ty, &json, direction).map_err(|mismatch| TestCaseError::fail(mismatch.to_string()))?;
    }
    let back: T =
        serde_json::from_value(json.clone()).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(written(&back), json);
    if let Type::Named(name) = ty {
        absence_agrees::<T>(schema, &name, &written(value))?;
    }
    Ok(())
}

/// A field may be missing when the schema says so, and only then.
fn absence_agrees<T: Data>(
    schema: &Module,
    name: &ftl::schema::TypeName,
    json: &Value,
) -> Result<(), TestCaseError> {
    let Shape::Struct(Fields::Named(fields)) = &schema.types[name].shape else { return Ok(()) };
    for field in fields {
        let mut without = json.as_object().unwrap().clone();
        without.remove(&field.name);
        let read = serde_json::from_value::<T>(Value::Object(without));
        prop_assert_eq!(read.is_ok(), field.optional, "{} of {}", field.name, name);
    }
    Ok(())
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), Just(String::new()), Just("\u{0}\"\\\u{1F600}".to_owned())]
}

fn basic() -> impl Strategy<Value = Basic> {
    let parts =
        (any::<u8>(), text(), any::<u8>(), any::<Option<u8>>(), any::<Vec<char>>(), any::<Option<bool>>());
    parts.prop_map(|(snake_name, kind, with_default, maybe, left_out, gone)| {
        let any = json!({ "kind": kind, "maybe": maybe });
        Basic { snake_name, kind, hidden: 0, with_default, maybe, left_out, gone, any }
    })
}

fn external() -> impl Strategy<Value = External> {
    prop_oneof![
        Just(External::UnitOne),
        any::<u64>().prop_map(|id| External::NewType(Id(id))),
        (any::<u8>(), text()).prop_map(|(a, b)| External::TupleTwo(a, b)),
        any::<Option<u8>>().prop_map(|some_field| External::StructOne { some_field }),
        Just(External::EmptyStruct {}),
    ]
}

fn adjacent() -> impl Strategy<Value = Adjacent> {
    prop_oneof![
        Just(Adjacent::Unit),
        any::<u8>().prop_map(Adjacent::New),
        any::<(u8, bool)>().prop_map(|(a, b)| Adjacent::Tuple(a, b)),
        any::<u8>().prop_map(|x| Adjacent::Struct { x }),
    ]
}

fn internal() -> impl Strategy<Value = Internal> {
    prop_oneof![
        Just(Internal::Unit),
        (any::<u8>(), text()).prop_map(|(a, b)| Internal::New(AllDefault { a, b })),
        adjacent().prop_map(Internal::Nested),
        any::<Vec<u8>>().prop_map(|b| Internal::Struct { b }),
    ]
}

fn wrapped() -> impl Strategy<Value = Wrapped> {
    (any::<u64>(), any::<Option<u8>>(), any::<Option<u8>>(), text(), any::<i32>()).prop_map(
        |(id, a, b, text, i)| Wrapped {
            id: Id(id),
            new_option: NewOption(a),
            clear_option: ClearOption { inner: b },
            email: Email(format!("{text}@")),
            unit: Unit,
            empty: Empty {},
            pair: Pair(i, 0, text),
            nothing: (),
        },
    )
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = any::<u8>().prop_map(|value| Tree { value, left: None, rest: Vec::new() });
    leaf.prop_recursive(4, 24, 3, |inner| {
        let parts = (any::<u8>(), prop::option::of(inner.clone()), prop::collection::vec(inner, 0..3));
        parts.prop_map(|(value, left, rest)| Tree { value, left: left.map(Box::new), rest })
    })
}

fn maps() -> impl Strategy<Value = Maps> {
    let key = prop_oneof![Just(Key::One), Just(Key::Two)];
    (
        prop::collection::btree_map(any::<u32>(), text(), 0..4),
        prop::collection::btree_map(key, any::<u8>(), 0..3),
        prop::collection::hash_map(any::<bool>(), any::<u8>(), 0..3),
        prop::collection::btree_map(any::<u64>().prop_map(Id), Just(()), 0..4),
        prop::collection::hash_map(any::<char>(), Just(Unit), 0..4),
    )
        .prop_map(|(by_number, by_key, by_flag, by_id, by_char)| Maps {
            by_number,
            by_key,
            by_flag,
            by_id,
            by_char,
        })
}

fn numbers() -> impl Strategy<Value = Numbers> {
    use prop::num::{f32, f64};
    let extreme =
        (Just((i8::MIN, u8::MAX, i16::MIN, u16::MAX)), Just((i32::MIN, u32::MAX, i64::MIN, u64::MAX)));
    let whole = prop_oneof![3 => (any::<(i8, u8, i16, u16)>(), any::<(i32, u32, i64, u64)>()), 1 => extreme];
    (whole, f32::NORMAL | f32::ZERO, f64::NORMAL | f64::ZERO).prop_map(|((small, large), f32, f64)| Numbers {
        small,
        large,
        f32,
        f64,
    })
}

fn containers() -> impl Strategy<Value = Containers> {
    let pair = any::<(char, u8)>().prop_map(|(a, b)| (a, Box::new(b)));
    let deep = prop::collection::vec(prop::option::of(prop::collection::vec(pair, 0..3)), 0..3);
    (prop::collection::btree_set(any::<u64>().prop_map(Id), 0..4), any::<u8>(), deep)
        .prop_map(|(set, one, deep)| Containers { set, shared: Arc::new(Empty {}), one: (one,), deep })
}

proptest! {
    #[test]
    fn values_agree_with_their_schema(
        basic in basic(), wrapped in wrapped(), external in external(), internal in internal(),
        adjacent in adjacent(), tree in tree(), maps in maps(), numbers in numbers(), containers in containers(),
        all_default in (any::<u8>(), text()).prop_map(|(a, b)| AllDefault { a, b }),
    ) {
        let schema = schema();
        agrees(&schema, &basic)?;
        agrees(&schema, &all_default)?;
        agrees(&schema, &wrapped)?;
        agrees(&schema, &external)?;
        agrees(&schema, &internal)?;
        agrees(&schema, &adjacent)?;
        agrees(&schema, &tree)?;
        agrees(&schema, &maps)?;
        agrees(&schema, &numbers)?;
        agrees(&schema, &containers)?;
        let all =
            Everything { basic, all_default, wrapped, external, internal, adjacent, tree, maps, numbers, containers };
        agrees(&schema, &all)?;
        prop_assert_eq!(serde_json::from_value::<Everything>(written(&all)).unwrap(), all);
    }

    /// Whatever arrives is read or refused; where it is refused, a place is named.
    #[test]
    fn reading_is_total(json in any::<Vec<u8>>(), text in "[\\[\\]{}\":,a-z0-9 ]{0,40}") {
        let _ = serde_json::from_slice::<Everything>(&json);
        let _ = serde_json::from_str::<Everything>(&text);
    }
}

#[test]
fn a_value_without_json_form_is_found() {
    let schema = schema();
    let numbers = Numbers { small: (0, 0, 0, 0), large: (0, 0, 0, 0), f32: 0.0, f64: f64::NAN };
    let ty = Numbers::describe(&mut Types::default());
    let mismatch = schema.check(&ty, &written(&numbers), Direction::Written).unwrap_err();
    assert_eq!(mismatch.to_string(), "$.f64: expected f64, found null");
}
