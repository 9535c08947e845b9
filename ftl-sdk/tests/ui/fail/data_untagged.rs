// Every value says which variant it is.
#[ftl::data]
#[serde(untagged)]
pub enum Id {
    Number(u64),
    Text(String),
}

fn main() {}
