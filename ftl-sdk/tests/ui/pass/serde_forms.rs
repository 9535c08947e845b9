// Everything of serde's that has a schema.
use std::collections::{BTreeMap, HashMap};

#[ftl::data]
#[serde(rename_all = "camelCase")]
pub struct Basic {
    pub snake_name: u8,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip)]
    pub hidden: u8,
    #[serde(default)]
    pub with_default: u8,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maybe: Option<char>,
}

#[ftl::data]
#[derive(Eq, PartialOrd, Ord)]
pub struct Id(pub u64);

#[ftl::data]
#[serde(transparent)]
pub struct Clear {
    pub inner: Option<u8>,
}

#[ftl::data]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Internal {
    UnitOne,
    Newtype(Basic),
    Struct { some_field: Id },
}

#[ftl::data]
#[serde(tag = "t", content = "c")]
pub enum Adjacent {
    Unit,
    Newtype(u8),
    Tuple(u8, String),
    Struct { x: u8 },
    #[serde(skip)]
    Never(std::time::Duration),
}

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

#[ftl::data]
pub struct Unit;

#[ftl::data]
pub struct Maps {
    pub by_id: BTreeMap<Id, Email>,
    pub by_flag: HashMap<bool, Clear>,
    pub any: serde_json::Value,
    pub internal: Internal,
    pub unit: Unit,
}

fn main() {}
