//! What stands in the parameters of a verb: its request, and what FTL injects.
//!
//! Each type says its role, and the roles of all parameters are folded into the type of the request. So there is no
//! rule about positions and no list of known names: an alias, a pattern or a type of the user's own works alike.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use ftl_core::call::BODY_BYTES_MAX;
use ftl_core::name::VerbRef;
use ftl_core::{Body, Code, Failure, VerbService};

use crate::client::Client;
use crate::context::Context;
use crate::data::Data;
use crate::json;
use crate::verb::Verb;

/// A type that may stand as a parameter of a verb.
///
/// Data is the request; [`Client`], [`Context`] and every [`Inject`] are injected. Implement [`Inject`], not this.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a parameter of a verb",
    label = "neither the request nor something that FTL injects",
    note = "the request is a type marked `#[ftl::data]`",
    note = "injected are `ftl::Context`, `ftl::Client<verb>` of a function marked `#[ftl::verb]`, and your own types that implement `ftl::Inject`"
)]
pub trait Param: Sized + Send + 'static {
    /// [`Request<Self>`] or [`Injected`].
    type Role;

    /// Says what having this parameter means for the schema.
    #[doc(hidden)]
    fn declare(_declaration: &mut Declaration) {}

    /// Takes it out of a call.
    #[doc(hidden)]
    fn take(incoming: &mut Incoming) -> Result<Self, Failure>;
}

/// A type of yours that verbs can take as a parameter: it is made, for each call, of other injected things.
///
/// What it needs it declares by naming it, so a verb that takes an `Inject` with a `Client` inside may make that call.
///
/// ```rust,standalone_crate
/// use ftl::{Context, Failure, Inject};
///
/// /// Who is asking.
/// pub struct Caller(pub String);
///
/// impl Inject for Caller {
///     type Needs = (Context,);
///
///     fn inject((context,): Self::Needs) -> Result<Self, Failure> {
///         Ok(Self(context.caller().map_or_else(|| "somebody outside".to_owned(), ToString::to_string)))
///     }
/// }
///
/// ftl::module! { verbs: [whoami] }
///
/// /// Tells the caller who it is.
/// #[ftl::verb]
/// pub async fn whoami(caller: Caller) -> String {
///     caller.0
/// }
///
/// # fn main() {
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert_eq!(whoami(Caller("me".to_owned())).await, "me");
/// # });
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a parameter of a verb",
    label = "neither the request nor something that FTL injects",
    note = "the request is a type marked `#[ftl::data]`",
    note = "injected are `ftl::Context`, `ftl::Client<verb>` of a function marked `#[ftl::verb]`, and your own types that implement `ftl::Inject`"
)]
pub trait Inject: Sized + Send + 'static {
    /// What it is made of: a tuple of injected types, `()` for nothing.
    type Needs: Needs;

    /// Makes one for a call. Runs before the verb; what outlives a call belongs into a `static`.
    ///
    /// # Errors
    /// A failure becomes that of the call, and the verb does not run.
    fn inject(needs: Self::Needs) -> Result<Self, Failure>;
}

impl<T: Inject> Param for T {
    type Role = Injected;

    fn declare(declaration: &mut Declaration) {
        T::Needs::declare(declaration);
    }

    fn take(incoming: &mut Incoming) -> Result<Self, Failure> {
        T::inject(T::Needs::take(incoming)?)
    }
}

/// What an [`Inject`] is made of: a tuple of up to four injected types.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what an `ftl::Inject` can be made of",
    note = "write a tuple of injected types, as `(ftl::Context,)`"
)]
pub trait Needs: Sized + Send + 'static {
    /// Declares all of them.
    #[doc(hidden)]
    fn declare(declaration: &mut Declaration);

    /// Takes all of them.
    #[doc(hidden)]
    fn take(incoming: &mut Incoming) -> Result<Self, Failure>;
}

macro_rules! needs {
    ($(($($part:ident)*))*) => { $(
        impl<$($part: Param<Role = Injected>),*> Needs for ($($part,)*) {
            fn declare(declaration: &mut Declaration) {
                let _ = &declaration;
                $($part::declare(declaration);)*
            }

            fn take(incoming: &mut Incoming) -> Result<Self, Failure> {
                let _ = &incoming;
                Ok(($($part::take(incoming)?,)*))
            }
        }
    )* };
}

needs! { () (A) (A B) (A B C) (A B C D) }

impl Param for Context {
    type Role = Injected;

    fn take(incoming: &mut Incoming) -> Result<Self, Failure> {
        Ok(incoming.context.clone())
    }
}

impl<V: Verb> Param for Client<V> {
    type Role = Injected;

    fn declare(declaration: &mut Declaration) {
        declaration.calls(V::MODULE, V::NAME);
    }

    fn take(incoming: &mut Incoming) -> Result<Self, Failure> {
        Ok(Self::of_call(incoming.outward.clone(), incoming.context.clone()))
    }
}

/// The role of everything that is not the request.
#[derive(Debug)]
pub enum Injected {}

/// The role of the request.
#[derive(Debug)]
pub struct Request<T>(PhantomData<T>);

/// Folds the roles of two parameters: there is at most one request.
#[diagnostic::on_unimplemented(
    message = "a verb takes at most one request, this one takes two",
    label = "this is one of two requests",
    note = "put both into one `#[ftl::data]` struct"
)]
pub trait Join<Rest> {
    /// The role of both.
    type Out;
}

impl<Rest> Join<Rest> for Injected {
    type Out = Rest;
}

impl<T> Join<Injected> for Request<T> {
    type Out = Request<T>;
}

/// The request that a fold of roles ended with.
pub trait Roles {
    /// Its type; `()` when no parameter is the request.
    type Request: Data;
}

impl Roles for Injected {
    type Request = ();
}

impl<T: Data> Roles for Request<T> {
    type Request = T;
}

/// What the parameters of a verb mean for its schema.
#[derive(Debug, Default)]
pub struct Declaration {
    calls: Vec<(&'static str, &'static str)>,
}

impl Declaration {
    fn calls(&mut self, module: &'static str, verb: &'static str) {
        self.calls.push((module, verb));
    }

    /// The verbs that are called, each once.
    pub(crate) fn into_calls(self) -> Result<Vec<VerbRef>, String> {
        let mut calls = Vec::new();
        for (module, verb) in self.calls {
            calls.push(format!("{module}.{verb}").parse().map_err(|error| format!("{error}"))?);
        }
        calls.sort();
        calls.dedup();
        Ok(calls)
    }
}

/// A call on its way into a verb.
pub struct Incoming {
    context: Context,
    body: Option<Body>,
    outward: Arc<dyn VerbService>,
}

impl Incoming {
    /// A call, and the way out for those that its verb makes.
    pub(crate) fn new(context: Context, body: Body, outward: Arc<dyn VerbService>) -> Self {
        Self { context, body: Some(body), outward }
    }

    /// Reads the request.
    ///
    /// # Errors
    /// `invalid_argument` that names the path, not started.
    pub fn request<T: Data>(&mut self) -> Result<T, Failure> {
        let refused = |code, message| Err(Failure::new(code, message).not_started(false));
        let Some(body) = self.body.take() else {
            return refused(Code::Internal, "the request was taken twice".to_owned());
        };
        if body.bytes().len() > BODY_BYTES_MAX {
            let found = body.bytes().len();
            let message = format!("the request has {found} bytes, the limit is {BODY_BYTES_MAX}");
            return refused(Code::ResourceExhausted, message);
        }
        json::decode(body.bytes()).or_else(|problem| {
            let message = format!("the request of `{}` cannot be read: {problem}", self.context.verb());
            refused(Code::InvalidArgument, message)
        })
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("context", &self.context)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
