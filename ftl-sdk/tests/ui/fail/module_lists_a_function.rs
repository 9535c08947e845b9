// A module lists functions that are marked.
ftl::module! { verbs: [helper] }

pub async fn helper() {}

fn main() {}
