//! The platforms that need nothing but this machine keep their promises.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what is wrong by failing")]

mod support;

use std::sync::Arc;

use ftl_platform_conformance::fixtures::Memory;
use ftl_platform_conformance::{Conclusion, Fixture, Selection, run};

/// Checks everything, and prints what is not a pass.
async fn verify(fixture: Arc<dyn Fixture>, seed: u64) {
    let selection = Selection::all(seed);
    let tell = |finding: &ftl_platform_conformance::Finding| {
        println!("{:>6} ms  {}", finding.took_ms, finding.in_words("verify", seed));
    };
    let report = run(fixture, &selection, tell).await.unwrap();
    println!("{} ms in all, starts take {} ms: {}", report.took_ms, report.start_ms, report.summary(&[]));
    assert_eq!(report.conclusion(&[]), Conclusion::Conformant);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_conformant() {
    verify(Arc::new(Memory::default()), support::seed(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_is_conformant() {
    let (fixture, _folder) = support::tied();
    verify(Arc::new(fixture), support::seed(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_is_conformant_when_its_instances_outlive_it() {
    let (fixture, _folder) = support::detached();
    verify(Arc::new(fixture), support::seed(2)).await;
}
