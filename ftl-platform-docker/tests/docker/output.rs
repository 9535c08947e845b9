//! What instances wrote, and what wakes whoever watches them.

use std::time::Duration;

use ftl_core::platform::{InstanceRef, LogOptions, Platform, PlatformExt, RemoveOptions, Wake};
use ftl_core::runner::{LOG_LINE_BYTES_MAX, OutputLine, Stream};
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::bench::{Bench, WAIT, bench};

async fn read(bench: &Bench, instance: &InstanceRef, follow: bool) -> Vec<OutputLine> {
    let mut options = LogOptions::default();
    options.follow = follow;
    let lines = bench.docker.logs(instance, options).await.unwrap();
    timeout(WAIT, lines.map(Result::unwrap).collect()).await.unwrap()
}

#[tokio::test]
async fn output_is_split_followed_and_kept() {
    bench(async |bench| {
        bench.prepare().await;
        let script = "out one; err two; sleep 1; out three; unended end; exit 5";
        let instance = bench.create(1, script).await;
        let followed = read(bench, &instance, true).await;
        assert!(bench.end_of(1).await.code == Some(5), "following ends with the instance");
        assert!(!followed.iter().any(|line| line.text.contains("tini")), "{followed:?}");
        let texts = |stream| {
            let lines = followed.iter().filter(|line| line.stream == stream && line.text.len() < 6);
            lines.map(|line| line.text.as_str()).filter(|text| !text.is_empty()).collect::<Vec<_>>()
        };
        assert_eq!(
            (texts(Stream::Stdout), texts(Stream::Stderr)),
            (vec!["one", "three", "end"], vec!["two"])
        );
        assert_eq!(
            read(bench, &instance, false).await,
            followed,
            "and can be read afterwards, with its times"
        );
        let at = |text: &str| followed.iter().find(|line| line.text == text).unwrap().at_us;
        let (one, three) = (at("one"), at("three"));
        assert!(three - one > 500_000, "{followed:?}");
        assert_eq!(bench.docker.tail(&instance, 1).await.unwrap(), ["end"]);
        assert_eq!(bench.docker.tail(&instance, 0).await.unwrap(), Vec::<String>::new());
        bench.docker.remove_instance(&instance, RemoveOptions::default()).await.unwrap();
        assert!(bench.docker.logs(&instance, LogOptions::default()).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn long_lines_are_cut_and_counted_and_many_are_complete() {
    bench(async |bench| {
        bench.prepare().await;
        let instance = bench.create(1, "long 1048576; out after; many 20000").await;
        bench.end_of(1).await;
        let lines = read(bench, &instance, false).await;
        let long = lines.iter().find(|line| line.text.starts_with("xx")).unwrap();
        assert_eq!(
            (long.text.len(), long.lost_bytes),
            (LOG_LINE_BYTES_MAX, (1 << 20) - LOG_LINE_BYTES_MAX as u64)
        );
        let numbers = lines.iter().filter_map(|line| line.text.strip_prefix("line ")?.parse::<u32>().ok());
        assert!(numbers.eq(0..20_000), "each once, in order");

        let instance = bench.create(2, "long 1048576; out after").await;
        bench.end_of(2).await;
        let tail = bench.docker.logs(&instance, LogOptions::tail(2)).await.unwrap();
        let tail: Vec<_> = tail.map(Result::unwrap).collect().await;
        assert_eq!(
            tail[0].lost_bytes,
            (1 << 20) - LOG_LINE_BYTES_MAX as u64,
            "the newest lines are whole ones"
        );
        assert_eq!(tail[1].text, "after");
    })
    .await;
}

#[tokio::test]
async fn whoever_watches_is_woken() {
    bench(async |bench| {
        bench.prepare().await;
        let mut watch = bench.docker.watch(&bench.cluster).await.unwrap();
        assert_eq!(watch.next().await, Some(Wake::Subscribed));
        bench.create(3, "exit 0").await;
        let woken = async {
            while let Some(wake) = watch.next().await {
                if wake == Wake::Changed(Some(ftl_core::key::RunnerKey(3)))
                    && bench.status(3).await.unwrap().ended()
                {
                    return;
                }
            }
            panic!("the watch ended");
        };
        timeout(WAIT, woken).await.unwrap();
        let alive = async {
            while let Some(wake) = watch.next().await {
                if wake == Wake::Alive {
                    return;
                }
            }
            panic!("the watch ended");
        };
        timeout(ftl_core::platform::ALIVE_EVERY + Duration::from_secs(2), alive).await.unwrap();
    })
    .await;
}
