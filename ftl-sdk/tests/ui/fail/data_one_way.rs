// What is written is what is read.
#[ftl::data]
pub struct Order {
    #[serde(skip_serializing)]
    pub secret: String,
    #[serde(skip_deserializing)]
    pub computed: u64,
    #[serde(rename(serialize = "number", deserialize = "id"))]
    pub id: u64,
}

#[ftl::data]
#[serde(into = "String")]
pub struct Name(String);

fn main() {}
