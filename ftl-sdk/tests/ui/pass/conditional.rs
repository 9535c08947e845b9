// Verbs may be conditional, deprecated, and named by keywords.
ftl::module! { verbs: [#[cfg(any())] missing, present, old, r#type] }

#[ftl::verb]
#[cfg(any())]
pub async fn missing() -> Missing {}

#[ftl::verb]
#[cfg(not(any()))]
pub async fn present() -> u8 {
    1
}

#[ftl::verb]
#[deprecated]
pub async fn old() -> u8 {
    1
}

#[ftl::verb]
pub async fn r#type() -> u8 {
    1
}

fn main() {
    let schema = MODULE.schema().unwrap();
    let names: Vec<&str> = schema.verbs.iter().map(|verb| verb.name.as_str()).collect();
    assert_eq!(names, ["old", "present", "type"]);
}
