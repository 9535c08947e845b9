//! Calls of verbs as people write them: `greeter.hello {name: "Ada"}`.

use std::time::Duration;

use ftl_client::Client;
use ftl_core::name::{RequestId, VerbRef};
use ftl_core::schema::{Definition, Fields, Module, Shape, Type, Visibility};
use ftl_core::{Body, Call, CallError, Head, VerbService};
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::time::Instant;

use crate::error::CliError;
use crate::exit::Exit;

/// A verb and its request.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    pub(crate) verb: VerbRef,
    /// In JSON.
    request: String,
}

impl Invocation {
    /// Reads `module.verb`, and a request in JSON5 after it.
    pub(crate) fn parse(text: &str) -> Result<Self, CliError> {
        let (verb, request) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), "null"));
        let verb = verb.parse().map_err(|error| CliError::usage("this is no call").because(error))?;
        Self::new(verb, request)
    }

    /// Reads the request in JSON5.
    pub(crate) fn new(verb: VerbRef, request: &str) -> Result<Self, CliError> {
        // What is JSON already is sent as it stands: no number in it loses a digit.
        if serde_json::from_str::<IgnoredAny>(request).is_ok() {
            return Ok(Self { verb, request: request.to_owned() });
        }
        let request: Value = json5::from_str(request).map_err(|error| {
            CliError::new(Exit::Usage, "invalid_json", format!("the request is no JSON5: {error}"))
                .of_verb(&verb)
                .hint(format!("quote it for the shell: ftl call {verb} '{{field: \"value\"}}'"))
        })?;
        Ok(Self { verb, request: request.to_string() })
    }

    /// Calls the verb and waits for its reply.
    pub(crate) async fn send(&self, client: &Client, timeout: Duration) -> Result<String, CliError> {
        let request: RequestId = uuid::Uuid::now_v7()
            .to_string()
            .parse()
            .map_err(|error| CliError::failed("no request id could be made").because(error))?;
        let head = Head::new(self.verb.clone(), request, Instant::now() + timeout);
        match client.call(Call::new(head, Body::once(self.request.clone()))).await {
            Ok(reply) => read(reply.body.bytes(), &self.verb),
            Err(CallError::Verb(body)) => {
                Err(CliError::verb_error(&self.verb, read(body.bytes(), &self.verb)?))
            }
            Err(CallError::Failed(failure)) => Err(CliError::from(failure).of_verb(&self.verb)),
        }
    }
}

/// An answer as it came, in one line.
fn read(bytes: &[u8], verb: &VerbRef) -> Result<String, CliError> {
    // A line can end between two parts of JSON text, and never within one.
    let text = str::from_utf8(bytes).unwrap_or_default().replace(['\n', '\r'], " ");
    serde_json::from_str::<IgnoredAny>(&text)
        .map(|_| text.trim().to_owned())
        .map_err(|error| CliError::failed("the answer is no JSON").because(error).of_verb(verb))
}

/// A call that somebody could try first: the last module's first verb that others may call.
pub(crate) fn example(modules: &[Module]) -> Option<String> {
    let callable =
        |module: &'_ &Module| module.verbs.iter().any(|verb| verb.visibility != Visibility::Module);
    let module = modules.iter().rev().find(callable)?;
    let verb = module.verbs.iter().find(|verb| verb.visibility != Visibility::Module)?;
    let request = sample(module, &verb.request, 0);
    let request = if request == "null" { String::new() } else { format!(" '{request}'") };
    Some(format!("{}.{}{request}", module.name, verb.name))
}

/// A value of a type, as JSON5.
fn sample(module: &Module, ty: &Type, depth: usize) -> String {
    match ty {
        Type::Bool => "true".to_owned(),
        Type::Int { .. } | Type::Float { .. } => "1".to_owned(),
        Type::Char => "\"a\"".to_owned(),
        Type::Text => "\"Ada\"".to_owned(),
        Type::List(_) => "[]".to_owned(),
        Type::Map(..) => "{}".to_owned(),
        Type::Tuple(parts) => {
            let parts: Vec<String> = parts.iter().map(|part| sample(module, part, depth + 1)).collect();
            format!("[{}]", parts.join(", "))
        }
        Type::Named(name) if depth < 4 => match module.types.get(name) {
            Some(definition) => sample_definition(module, definition, depth),
            None => "null".to_owned(),
        },
        _ => "null".to_owned(),
    }
}

fn sample_definition(module: &Module, definition: &Definition, depth: usize) -> String {
    let fields = match &definition.shape {
        Shape::Struct(fields) => fields,
        Shape::Enum { variants, .. } => {
            let unit = variants.iter().find(|variant| variant.fields == Fields::Unit);
            return unit.map_or_else(|| "null".to_owned(), |variant| format!("\"{}\"", variant.name));
        }
        _ => return "null".to_owned(),
    };
    match fields {
        Fields::Unit => "null".to_owned(),
        Fields::Newtype(ty) => sample(module, ty, depth + 1),
        Fields::Tuple(parts) => sample(module, &Type::Tuple(parts.clone()), depth),
        Fields::Named(fields) => {
            let needed = fields.iter().filter(|field| !field.optional);
            let pairs: Vec<String> = needed
                .map(|field| format!("{}: {}", field.name, sample(module, &field.ty, depth + 1)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ftl_core::schema::{Field, Verb};

    #[test]
    fn calls_are_read_as_people_write_them() {
        let call = Invocation::parse("greeter.hello {name: 'Ada', }").unwrap();
        assert_eq!(
            (call.verb.to_string().as_str(), call.request.as_str()),
            ("greeter.hello", r#"{"name":"Ada"}"#)
        );
        assert_eq!(Invocation::parse("clock.now").unwrap().request, "null");
        assert_eq!(Invocation::parse("greeter").unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn no_number_and_no_order_is_changed() {
        let text = r#"{"b":340282366920938463463374607431768211455,"a":1e400}"#;
        assert_eq!(Invocation::parse(&format!("a.b {text}")).unwrap().request, text);
        let verb: VerbRef = "a.b".parse().unwrap();
        assert_eq!(read(text.as_bytes(), &verb).unwrap(), text);
        assert_eq!(read(b"{\n \"a\": \"\\n\"\n}\n", &verb).unwrap(), "{  \"a\": \"\\n\" }");
        assert!(read(b"{", &verb).is_err());
    }

    #[test]
    fn malformed_json5_shows_where() {
        let error = Invocation::parse("greeter.hello {name: }").unwrap_err();
        assert!(error.to_string().contains("line 1"), "{error}");
        assert!(error.to_string().contains("help: quote it"), "{error}");
    }

    #[test]
    fn an_example_fits_its_schema() {
        let mut greeter = Module::new("greeter".parse().unwrap());
        let mut hello = Verb::new("hello".parse().unwrap());
        let name: ftl_core::schema::TypeName = "greeter.HelloRequest".parse().unwrap();
        hello.request = Type::Named(name.clone());
        let fields = Fields::Named(vec![
            Field::new("name", Type::Text),
            Field::new("times", Type::Int { bits: 8, signed: false }),
        ]);
        greeter.types.insert(name, Definition::new("", Shape::Struct(fields)));
        greeter.verbs.push(hello);
        assert_eq!(example(&[greeter]).unwrap(), "greeter.hello '{name: \"Ada\", times: 1}'");
    }
}
