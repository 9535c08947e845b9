// FTL derives serde's traits.
#[ftl::data]
#[derive(serde::Serialize, PartialEq)]
pub struct Name {
    pub name: String,
}

fn main() {}
