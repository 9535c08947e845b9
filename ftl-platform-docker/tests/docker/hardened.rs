//! What an instance may do, what it finds, and that its secret is nowhere else.

use bollard::query_parameters::InspectContainerOptions;
use ftl_core::platform::{Platform, PlatformExt};

use crate::bench::{SECRET, bench};

#[tokio::test]
async fn it_may_do_nothing_that_it_need_not() {
    bench(async |bench| {
        bench.prepare().await;
        let script = "show /proc/self/status; write /x; write /etc/x; write /tmp/x; write /var/lib/ftl/x; \
                      show /proc/mounts; exit 0";
        let instance = bench.create(1, script).await;
        bench.end_of(1).await;
        let lines = bench.lines(&instance).await;
        let shown = |begin: &str| {
            let begin = format!("show {begin}");
            let line = lines.iter().find(|line| line.starts_with(&begin));
            line.unwrap_or_else(|| panic!("{begin} in {lines:?}"))
                .trim_start_matches(&begin)
                .trim()
                .to_owned()
        };
        for capabilities in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(shown(capabilities), "0000000000000000", "{capabilities}");
        }
        assert_eq!((shown("NoNewPrivs:").as_str(), shown("Seccomp:").as_str()), ("1", "2"));
        assert_eq!(shown("Uid:"), "65532\t65532\t65532\t65532");
        assert_eq!(shown("Gid:"), "65532\t65532\t65532\t65532");
        for (path, said) in
            [("/x", "Read-only"), ("/etc/x", "Read-only"), ("/tmp/x", "ok"), ("/var/lib/ftl/x", "ok")]
        {
            let line = lines.iter().find(|line| line.starts_with(&format!("write {path}: "))).unwrap();
            assert!(line.contains(said), "{line}");
        }
        let temporary = lines.iter().find(|line| line.contains(" /tmp tmpfs ")).unwrap();
        assert!(temporary.contains("size=65536k") && temporary.contains("noexec"), "{temporary}");

        let host = &bench.inspect(&instance.native).await["HostConfig"];
        assert_eq!((&host["ReadonlyRootfs"], &host["Privileged"]), (&true.into(), &false.into()));
        assert_eq!((&host["Init"], &host["PidsLimit"]), (&true.into(), &1024.into()));
        assert!(
            host["PortBindings"].as_object().is_none_or(|ports| ports.is_empty()),
            "nothing is published"
        );
        assert_eq!(host["Binds"].as_array().map_or(0, Vec::len), 0, "nothing of the host is mounted");
    })
    .await;
}

#[tokio::test]
async fn limits_are_enforced() {
    bench(async |bench| {
        bench.prepare().await;
        let mut spec = bench.spec(1, "forks 40; exit 0");
        spec.needs.limits.pids = Some(16);
        spec.needs.limits.cpu_millis = Some(500);
        let instance = bench.docker.create_instance(&spec).await.unwrap().instance;
        bench.end_of(1).await;
        let lines = bench.lines(&instance).await;
        // Its children write, too, and not always whole lines.
        let refused = |line: &String| line.contains("fork ") && line.contains("temporarily unavailable");
        assert!(lines.iter().any(refused), "{lines:?}");
        assert_eq!(bench.inspect(&instance.native).await["HostConfig"]["NanoCpus"], 500_000_000);
    })
    .await;
}

#[tokio::test]
async fn the_boot_document_is_where_only_its_program_finds_it() {
    bench(async |bench| {
        bench.prepare().await;
        let instance = bench.create(1, "boot; env FTL_DIR; env FTL_LIBRARIES; term stay").await;
        let expected = format!("{} bytes, mode 600, uid 65532", SECRET.len());
        assert_eq!(bench.line(&instance, "boot ").await, expected);
        assert_eq!(bench.line(&instance, "removed: ").await, "ok");
        assert_eq!(bench.line(&instance, "env FTL_DIR: ").await, "/var/lib/ftl");
        assert_eq!(bench.line(&instance, "env FTL_LIBRARIES: ").await, "artefacts");
        let raw =
            bench.raw.inspect_container(&instance.native, None::<InspectContainerOptions>).await.unwrap();
        let listed = bench.raw.list_containers(None).await.unwrap();
        let image =
            bench.raw.inspect_image(&raw.config.as_ref().unwrap().image.clone().unwrap()).await.unwrap();
        let status = bench.docker.observe(&bench.cluster).await.unwrap();
        for seen in [
            serde_json::to_string(&raw).unwrap(),
            serde_json::to_string(&listed).unwrap(),
            serde_json::to_string(&image).unwrap(),
            format!("{status:?}"),
            format!("{:?}", bench.docker),
            bench.lines(&instance).await.concat(),
        ] {
            assert!(!seen.contains(SECRET), "{seen}");
        }
        let of_process = |file: &str| {
            let pid = raw.state.as_ref().unwrap().pid.unwrap();
            String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default())
                .into_owned()
        };
        for file in ["cmdline", "environ"] {
            assert!(!of_process(file).contains(SECRET), "{file}");
        }
    })
    .await;
}

#[tokio::test]
async fn it_finds_what_programs_look_for() {
    bench(async |bench| {
        bench.prepare().await;
        let script = "show /etc/passwd; show /etc/ssl/certs/ca-certificates.crt; show /usr/share/zoneinfo/Europe/Vienna; \
                      resolve localhost; resolve nowhere.invalid; exit 0";
        let instance = bench.create(1, script).await;
        bench.end_of(1).await;
        let lines = bench.docker.tail(&instance, 100_000).await.unwrap();
        let has = |text: &str| assert!(lines.iter().any(|line| line.contains(text)), "{text}");
        has("ftl:x:65532:65532:");
        has("-----BEGIN CERTIFICATE-----");
        has("resolve localhost: ok");
        assert!(!lines.iter().any(|line| line.contains("No such file")), "time zones are there");
        let unknown = lines.iter().find(|line| line.starts_with("resolve nowhere.invalid: ")).unwrap();
        assert!(!unknown.ends_with("ok"), "{unknown}");
    })
    .await;
}
