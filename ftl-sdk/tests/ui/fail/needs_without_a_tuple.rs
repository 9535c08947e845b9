// An injectable is made of a tuple of injected things.
pub struct Caller(pub String);

impl ftl::Inject for Caller {
    type Needs = ftl::Context;

    fn inject(context: ftl::Context) -> Result<Self, ftl::Failure> {
        Ok(Self(context.request_id().to_string()))
    }
}

fn main() {}
