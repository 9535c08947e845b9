//! The secrets and the proofs: HMAC-SHA256 over length-prefixed parts, so that no two inputs run together.

use ftl_core::Secret;
use ftl_core::key::RunnerKey;
use ftl_core::name::ClusterId;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::limits::PREFACE;

/// The secret of a Runner: HMAC-SHA256 of the cluster's key over cluster and runner key, length-prefixed.
///
/// It is derived and never stored: the Controller knows the secret of every key, and needs no table of them.
///
/// ```
/// use ftl_core::{Secret, key::RunnerKey};
/// use ftl_wire::runner_secret;
/// let (cluster_key, cluster) = (Secret::new([7; 32]), "c1".parse().unwrap());
/// let secret = runner_secret(&cluster_key, &cluster, RunnerKey(41));
/// assert_eq!(secret.expose().len(), 32);
/// assert_ne!(secret, runner_secret(&cluster_key, &cluster, RunnerKey(42)));
/// ```
#[must_use]
pub fn runner_secret(cluster_key: &Secret, cluster: &ClusterId, runner: RunnerKey) -> Secret {
    let mac = hmac(cluster_key, &[cluster.as_str().as_bytes(), &runner.0.to_le_bytes()]);
    let secret: [u8; 32] = mac.finalize().into_bytes().into();
    Secret::new(secret)
}

/// HMAC-SHA256 over the parts, each after its length (u32, little-endian).
fn hmac(key: &Secret, parts: &[&[u8]]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("a key");
    for part in parts {
        mac.update(&(part.len() as u32).to_le_bytes());
        mac.update(part);
    }
    mac
}

/// Which end proves itself. The label keeps one end's proof from being sent back as the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prover {
    Acceptor,
    Dialler,
}

/// What both ends saw before the first proof: preface, the whole HELLO, and CHALLENGE without its MAC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transcript<'a> {
    pub(super) hello: &'a [u8],
    pub(super) challenge: &'a [u8],
}

impl Transcript<'_> {
    fn mac(&self, secret: &Secret, prover: Prover) -> Hmac<Sha256> {
        let label: &[u8] = match prover {
            Prover::Acceptor => b"a",
            Prover::Dialler => b"d",
        };
        hmac(secret, &[label, &PREFACE, self.hello, self.challenge])
    }

    /// The proof that one end knows the secret.
    pub(super) fn prove(&self, secret: &Secret, prover: Prover) -> [u8; 32] {
        self.mac(secret, prover).finalize().into_bytes().into()
    }

    /// Whether this is the proof of that end; takes the same time whatever is wrong with it.
    pub(super) fn proves(&self, secret: &Secret, prover: Prover, proof: &[u8]) -> bool {
        self.mac(secret, prover).verify_slice(proof).is_ok()
    }
}

#[cfg(test)]
#[path = "../../tests/support/golden.rs"]
mod golden;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proofs_are_those_of_the_document() {
        let examples = golden::examples();
        let cluster_key: [u8; 32] = std::array::from_fn(|at| at as u8);
        let secret = runner_secret(&Secret::new(cluster_key), &"c1".parse().unwrap(), RunnerKey(41));
        assert_eq!(secret.expose(), examples["secret"]);
        let (challenge, mac) = examples["challenge"].split_last_chunk::<32>().unwrap();
        let seen = Transcript { hello: &examples["hello-runner"], challenge };
        assert_eq!(seen.prove(&secret, Prover::Acceptor), *mac);
        assert!(examples["proof"].ends_with(&seen.prove(&secret, Prover::Dialler)));
    }

    #[test]
    fn parts_do_not_run_together() {
        let key = Secret::new([1; 32]);
        let mac = |parts: &[&[u8]]| hmac(&key, parts).finalize().into_bytes();
        assert_ne!(mac(&[b"ab", b"c"]), mac(&[b"a", b"bc"]));
    }

    #[test]
    fn a_proof_is_good_for_one_end_one_secret_and_one_transcript() {
        let (secret, other) = (Secret::new([1; 32]), Secret::new([2; 32]));
        let seen = Transcript { hello: b"hello", challenge: b"challenge" };
        let proof = seen.prove(&secret, Prover::Dialler);
        assert!(seen.proves(&secret, Prover::Dialler, &proof));
        assert!(!seen.proves(&secret, Prover::Acceptor, &proof), "reflected");
        assert!(!seen.proves(&other, Prover::Dialler, &proof));
        assert!(!seen.proves(&secret, Prover::Dialler, &proof[..31]));
        let replayed = Transcript { hello: b"hello", challenge: b"another" };
        assert!(!replayed.proves(&secret, Prover::Dialler, &proof));
    }
}
