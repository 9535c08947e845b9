// What hides the wire form of a field is refused.
#[ftl::data]
pub struct Key {
    #[serde(with = "hex")]
    pub bytes: Vec<u8>,
}

mod hex {}

fn main() {}
