// Parameters of the user's own, made of others.
use ftl::{Client, Context, Failure, Inject};

ftl::module! { verbs: [ask] }

pub struct Clock(Client<clock::now>);

impl Inject for Clock {
    type Needs = (Client<clock::now>,);

    fn inject((now,): Self::Needs) -> Result<Self, Failure> {
        Ok(Self(now))
    }
}

pub struct Everything {
    clock: Clock,
    context: Context,
}

impl Inject for Everything {
    type Needs = (Clock, Context, Nothing);

    fn inject((clock, context, Nothing): Self::Needs) -> Result<Self, Failure> {
        Ok(Self { clock, context })
    }
}

pub struct Nothing;

impl Inject for Nothing {
    type Needs = ();

    fn inject((): ()) -> Result<Self, Failure> {
        Ok(Self)
    }
}

#[ftl::verb]
pub async fn ask(everything: Everything) -> Result<String, ftl::Error> {
    let time = everything.clock.0.call(()).await?.time;
    Ok(format!("{time} {}", everything.context.request_id()))
}

fn main() {
    let schema = MODULE.schema().unwrap();
    assert_eq!(schema.verbs[0].calls[0].to_string(), "clock.now");
}
