// A parameter has a named type.
ftl::module! { verbs: [sum] }

#[ftl::verb]
pub async fn sum(numbers: impl Iterator<Item = u32>) -> u32 {
    numbers.sum()
}

fn main() {}
