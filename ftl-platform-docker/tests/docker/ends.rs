//! Exits, and how an instance is asked to end.

use std::time::Duration;

use ftl_core::platform::{InstanceRef, InstanceState, Platform};
use ftl_platform_docker::Docker;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::bench::{bench, options};

#[tokio::test(flavor = "multi_thread")]
async fn exits_are_exact() {
    bench(async |bench| {
        bench.prepare().await;
        let codes = [0, 1, 42, 125, 126, 127, 137, 255];
        join_all(codes.map(|code| async move { bench.create(code, &format!("out x; exit {code}")).await }))
            .await;
        for code in codes {
            let exit = bench.end_of(code).await;
            assert_eq!(exit.code, Some(i32::try_from(code).unwrap()));
            assert_eq!((exit.asked, exit.oom, exit.never_started), (false, Some(false), false), "{exit:?}");
            assert_eq!(exit.signal, None, "docker tells 137 for a signal too");
        }
        bench.create(2, "abort").await;
        let aborted = bench.end_of(2).await;
        assert_eq!((aborted.code, aborted.signal), (None, Some(6)));
        for status in bench.docker.observe(&bench.cluster).await.unwrap() {
            assert_eq!(bench.inspect(&status.instance.native).await["RestartCount"], 0);
        }
    })
    .await;
}

#[tokio::test]
async fn memory_that_runs_out_is_told_and_a_childs_is_not_the_programs() {
    bench(async |bench| {
        bench.prepare().await;
        for (key, script) in
            [(1, "eat 200"), (2, "child wait eat 200; exit 0"), (3, "child wait eat 200; exit 9")]
        {
            let mut spec = bench.spec(key, script);
            spec.needs.limits.memory_bytes = Some(64 << 20);
            bench.docker.create_instance(&spec).await.unwrap();
        }
        let own = bench.end_of(1).await;
        assert_eq!((own.oom, own.code, own.signal), (Some(true), None, Some(9)), "{own:?}");
        let childs = bench.end_of(2).await;
        assert_eq!((childs.oom, childs.code), (Some(false), Some(0)), "{childs:?}");
        let childs = bench.end_of(3).await;
        assert_eq!((childs.oom, childs.code), (Some(false), Some(9)), "{childs:?}");
        assert!(childs.to_string().contains("its memory ran out"), "{childs}");
    })
    .await;
}

#[tokio::test]
async fn asked_to_end_it_ends_in_its_own_way_or_is_killed() {
    bench(async |bench| {
        bench.prepare().await;
        let polite = bench.create(1, "term leave").await;
        let stubborn = bench.create(2, "term stay").await;
        let shortened = bench.create(3, "term stay").await;
        for instance in [&polite, &stubborn, &shortened] {
            bench.line(instance, "ready").await;
        }
        bench.docker.stop_instance(&polite, Duration::from_secs(30)).await.unwrap();
        let exit = bench.end_of(1).await;
        assert_eq!((exit.code, exit.asked), (Some(7), true), "{exit:?}");

        let asked = Instant::now();
        bench.docker.stop_instance(&stubborn, Duration::from_secs(2)).await.unwrap();
        let exit = bench.end_of(2).await;
        assert_eq!((exit.signal, exit.asked, exit.oom), (Some(9), true, Some(false)), "{exit:?}");
        assert!((2.0..20.0).contains(&asked.elapsed().as_secs_f64()), "{:?}", asked.elapsed());

        bench.docker.stop_instance(&shortened, Duration::from_secs(300)).await.unwrap();
        bench.line(&shortened, "asked").await;
        assert_eq!(bench.status(3).await.unwrap().state, InstanceState::Stopping);
        let another = Docker::new(options()).observe(&bench.cluster).await.unwrap();
        assert!(
            another.iter().any(|status| status.state == InstanceState::Stopping),
            "another value sees it too"
        );
        bench.docker.stop_instance(&shortened, Duration::ZERO).await.unwrap();
        assert_eq!(bench.end_of(3).await.signal, Some(9));

        // Ended, or never heard of: nothing to do.
        for key in [1, 99] {
            let instance = InstanceRef::new(bench.cluster.clone(), ftl_core::key::RunnerKey(key), "x");
            bench.docker.stop_instance(&instance, Duration::ZERO).await.unwrap();
        }
        let by_itself = bench.create(4, "exit 1").await;
        bench.end_of(4).await;
        bench.docker.stop_instance(&by_itself, Duration::from_secs(1)).await.unwrap();
        assert!(!bench.end_of(4).await.asked, "it had ended before it was asked");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_the_start_is_not_lost() {
    bench(async |bench| {
        bench.prepare().await;
        let pauses = [0, 5, 10, 20, 50, 100, 200, 400];
        for (key, pause) in (1..).zip(pauses) {
            let spec = bench.spec(key, "term stay");
            let create = bench.docker.create_instance(&spec);
            let stop = async {
                sleep(Duration::from_millis(pause)).await;
                let instance = InstanceRef::new(bench.cluster.clone(), spec.runner, "");
                let known = bench.status(key).await.is_some();
                bench.docker.stop_instance(&instance, Duration::ZERO).await.unwrap();
                known
            };
            let (created, known) = tokio::join!(create, stop);
            let created = created.unwrap();
            if !known {
                bench.docker.stop_instance(&created.instance, Duration::ZERO).await.unwrap();
            }
            let exit = bench.end_of(key).await;
            assert!(exit.asked, "stopped after {pause} ms: {exit:?}");
            // And it stays so, whoever asks for it again.
            bench.docker.create_instance(&spec).await.unwrap();
            assert!(matches!(bench.status(key).await.unwrap().state, InstanceState::Ended(_)));
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_outlives_an_instance() {
    bench(async |bench| {
        bench.prepare().await;
        // The mark is an argument of nobody else's processes.
        let mark = format!("FTL_TEST_SCRIPT=out {}", bench.cluster);
        let script = format!("child out {}, term stay; term stay", bench.cluster);
        let stopped = bench.create(1, &script).await;
        let crashed = bench.create(2, &script.replace("; term stay", "; sleep 2; exit 3")).await;
        bench.line(&stopped, &bench.cluster.to_string()).await;
        bench.line(&crashed, &bench.cluster.to_string()).await;
        assert!(carrying(&mark) > 0, "a test that sees no child sees none that is left");
        bench.docker.stop_instance(&stopped, Duration::ZERO).await.unwrap();
        bench.end_of(1).await;
        assert_eq!(bench.end_of(2).await.code, Some(3));
        let until = Instant::now() + crate::bench::WAIT;
        while carrying(&mark) > 0 {
            assert!(Instant::now() < until, "a child is left");
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// How many processes of this machine have this in their environment.
fn carrying(text: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let environments = processes.filter_map(|process| std::fs::read(process.path().join("environ")).ok());
    environments.filter(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes())).count()
}
