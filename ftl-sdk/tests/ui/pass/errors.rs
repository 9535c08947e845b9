// The forms of an error, and what `?` converts.
use ftl::{CallResult, Client};

ftl::module! { verbs: [named, fields, split, nested] }

#[ftl::error]
pub enum Named {
    #[error("clock: {0}")]
    Clock(#[from] clock::NowError),
    #[error("{0}")]
    Down(#[failure] ftl::Failure),
}

#[ftl::error]
pub enum Fields {
    #[error("down: {failure}")]
    Down {
        #[failure]
        failure: ftl::Failure,
    },
    #[error("inner: {inner}")]
    Inner {
        #[from]
        inner: Named,
    },
    #[error("code {code}")]
    Code { code: u8 },
}

#[ftl::verb]
pub async fn named(now: Client<clock::now>) -> Result<String, Named> {
    Ok(now.call(()).await?.time)
}

#[ftl::verb]
pub async fn fields(named: Client<named>) -> Result<String, Fields> {
    Ok(named.call(()).await?)
}

#[ftl::verb]
pub async fn split(now: Client<clock::now>) -> Result<String, Named> {
    match now.call(()).await.split()? {
        Ok(reply) => Ok(reply.time),
        Err(clock::NowError::NotSet) => Ok("never".to_owned()),
    }
}

#[ftl::verb]
pub async fn nested(fields: Client<fields>) -> Result<String, ftl::Error> {
    Ok(fields.call(()).await?)
}

fn main() {
    MODULE.schema().unwrap();
}
