// One compile shows every mistake of an item, and nothing that only follows from them.
ftl::module! { verbs: [greet, ask] }

#[ftl::verb(public)]
fn greet<T>(context: &mut T, names: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let _ = context;
    names
}

#[ftl::verb]
pub async fn ask(other: ftl::Client<greet>, question: Question) -> Question {
    let _ = other;
    question
}

#[ftl::data]
pub struct Question {
    #[serde(alias = "words")]
    text: String,
    #[serde(flatten)]
    rest: Rest,
}

#[ftl::data]
pub struct Rest {
    #[serde(skip_serializing)]
    a: u8,
}

fn main() {}
