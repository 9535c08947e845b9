// serde's own parser reads serde's attributes, and says what it says elsewhere.
#[ftl::data]
pub struct Order {
    #[serde(renam = "number")]
    pub id: u64,
}

fn main() {}
