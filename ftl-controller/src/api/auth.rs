//! Who may use the admin API: whoever shows the token, in a version of this interface that is known.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ftl_core::http::{API_HEADER, API_VERSION};
use ftl_core::{ControllerError, Secret};
use subtle::ConstantTimeEq;

use super::answer::Refusal;

/// The token that clients must show.
#[derive(Clone, Debug)]
pub(crate) struct Token(pub(crate) Secret);

pub(super) async fn check(State(token): State<Token>, request: Request, next: Next) -> Response {
    match refuse(&token, request.headers()) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

fn refuse(token: &Token, headers: &HeaderMap) -> Option<Response> {
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let why = match shown.and_then(|value| value.strip_prefix(b"Bearer ")) {
        Some(shown) if bool::from(shown.ct_eq(token.0.expose())) => return wrong_version(headers),
        Some(b"") | None => "no API token was shown",
        Some(_) => "the API token is wrong",
    };
    Some(Refusal(ControllerError::Unauthenticated(why.to_owned())).into_response())
}

fn wrong_version(headers: &HeaderMap) -> Option<Response> {
    let spoken = headers.get(API_HEADER)?.to_str().unwrap_or("?");
    if spoken == API_VERSION.to_string() {
        return None;
    }
    let side =
        if spoken.parse::<u32>().is_ok_and(|spoken| spoken > API_VERSION) { "Controller" } else { "client" };
    let message = format!(
        "the client speaks version {spoken} of this API, the Controller {API_VERSION}: upgrade the {side}"
    );
    Some(Refusal(ControllerError::Incompatible(message)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(pairs: &[(&'static str, &'static str)]) -> Option<u16> {
        let token = Token(Secret::new(*b"abc"));
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        refuse(&token, &headers).map(|response| response.status().as_u16())
    }

    #[test]
    fn only_the_token_in_a_known_version_gets_in() {
        let right = ("authorization", "Bearer abc");
        assert_eq!(refused(&[right]), None);
        assert_eq!(refused(&[right, (API_HEADER, "1")]), None);
        assert_eq!(refused(&[right, (API_HEADER, "2")]), Some(400));
        for wrong in ["Bearer abd", "Bearer ab", "Bearer ", "Basic abc", "abc"] {
            assert_eq!(refused(&[("authorization", wrong)]), Some(401), "{wrong}");
        }
        assert_eq!(refused(&[]), Some(401));
    }
}
