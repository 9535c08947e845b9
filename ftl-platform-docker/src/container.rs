//! From a specification to what the engine is asked to create: pure, and everything that hardens a container.

use std::collections::HashMap;
use std::io;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions,
    RestartPolicy, RestartPolicyNameEnum,
};
use ftl_core::Secret;
use ftl_core::boot::{BOOT_VARIABLE, LIBRARIES_VARIABLE};
use ftl_core::platform::InstanceSpec;

use crate::image::{DIRECTORY, USER, header};
use crate::marks;
use crate::options::Options;

/// Tells a Runner which directory is its own.
const DIRECTORY_VARIABLE: &str = "FTL_DIR";
/// The time zone, as everywhere.
const ZONE_VARIABLE: &str = "TZ";
/// The boot document's file in the instance's directory.
const BOOT_FILE: &str = "boot.json";
/// Says, in the instance's directory, that it was asked to end. A container's labels cannot be changed, and its engine
/// does not remember why a container ended.
pub(crate) const ASKED_FILE: &str = "asked-to-end";
/// Makes the engine's init process say how the program ended: see `init`.
const INIT_VARIABLE: &str = "TINI_VERBOSITY";
/// Its least talkative level at which it does.
const INIT_LEVEL: &str = "2";
/// Longest name of a host.
const HOST_NAME_BYTES_MAX: usize = 63;
/// The engine keeps so much output of a container: twice this, as JSON with its times.
const LOG_FILE_SIZE: &str = "20m";
/// What the part of a container's name for the module says when there is none.
const NO_MODULE: &str = "runner";
/// Leads to the engine's machine, on every kind of engine once it is given to a container.
pub(crate) const HOST_GATEWAY: &str = "host.docker.internal";

/// The name of an instance's container, the same whoever asks.
pub(crate) fn name(spec: &InstanceSpec) -> String {
    format!("ftl-{}-{}-{}", spec.cluster, module(spec), spec.runner)
}

fn module(spec: &InstanceSpec) -> &str {
    // Only what can be no other name: it is part of an identity.
    let module = spec.labels.get("module").filter(|module| {
        !module.is_empty() && module.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    });
    module.map_or(NO_MODULE, String::as_str)
}

fn host_name(spec: &InstanceSpec) -> String {
    let runner = spec.runner.to_string();
    let room = HOST_NAME_BYTES_MAX.saturating_sub(runner.len() + 1);
    let module: String = module(spec).replace('_', "-").chars().take(room).collect();
    format!("{module}-{runner}")
}

/// What an instance shares with the others of its cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared<'a> {
    pub(crate) image: &'a str,
    /// The id of the cluster's network.
    pub(crate) network: &'a str,
    pub(crate) owner: Option<&'a str>,
}

/// What the engine is asked to create.
pub(crate) fn body(
    spec: &InstanceSpec,
    args: &[String],
    shared: Shared<'_>,
    options: &Options,
) -> ContainerCreateBody {
    ContainerCreateBody {
        hostname: Some(host_name(spec)),
        user: Some(format!("{USER}:{USER}")),
        env: Some(environment(spec, std::env::var(ZONE_VARIABLE).ok())),
        cmd: Some(args.to_vec()),
        image: Some(shared.image.to_owned()),
        working_dir: Some(DIRECTORY.to_owned()),
        labels: Some(marks::of_instance(spec, shared.owner)),
        host_config: Some(HostConfig {
            network_mode: Some(shared.network.to_owned()),
            extra_hosts: Some(vec![format!("{HOST_GATEWAY}:host-gateway")]),
            mounts: Some(vec![volume(spec, shared.owner)]),
            ..limited(spec, options)
        }),
        ..ContainerCreateBody::default()
    }
}

/// What holds for every container of ours: it may do nothing that it need not, and nobody but us restarts it.
pub(crate) fn hardened(options: &Options) -> HostConfig {
    let temporary = format!("rw,noexec,nosuid,nodev,mode=1777,size={}", options.temporary_bytes);
    let log = [("max-size", LOG_FILE_SIZE), ("max-file", "2")];
    HostConfig {
        // Reaps what was left behind, and hands signals on to a program that has no handler for them.
        init: Some(true),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        readonly_rootfs: Some(true),
        pids_limit: Some(i64::from(options.pids)),
        tmpfs: Some(HashMap::from([("/tmp".to_owned(), temporary)])),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(log.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        }),
        ..HostConfig::default()
    }
}

fn limited(spec: &InstanceSpec, options: &Options) -> HostConfig {
    let limits = spec.needs.limits;
    let memory = limits.memory_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let mut config = HostConfig {
        memory,
        // The same again: no swap besides.
        memory_swap: memory,
        nano_cpus: limits.cpu_millis.map(|millis| i64::from(millis) * 1_000_000),
        ..hardened(options)
    };
    if let Some(pids) = limits.pids {
        config.pids_limit = Some(i64::from(pids));
    }
    config
}

/// A volume without a name, so that it goes with its container. What is on it counts as no memory.
fn volume(spec: &InstanceSpec, owner: Option<&str>) -> Mount {
    Mount {
        target: Some(DIRECTORY.to_owned()),
        typ: Some(MountType::VOLUME),
        volume_options: Some(MountVolumeOptions {
            labels: Some(marks::of_owned(&spec.cluster, owner)),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

fn environment(spec: &InstanceSpec, zone: Option<String>) -> Vec<String> {
    let mut environment = std::collections::BTreeMap::new();
    environment.extend(zone.map(|zone| (ZONE_VARIABLE.to_owned(), zone)));
    environment.extend(spec.env.clone());
    environment.extend([
        (BOOT_VARIABLE.to_owned(), format!("{DIRECTORY}/{BOOT_FILE}")),
        (DIRECTORY_VARIABLE.to_owned(), DIRECTORY.to_owned()),
        (LIBRARIES_VARIABLE.to_owned(), "artefacts".to_owned()),
        (INIT_VARIABLE.to_owned(), INIT_LEVEL.to_owned()),
    ]);
    environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// The boot document as a file for the instance's directory: only its program may read it.
pub(crate) fn boot_archive(boot: &Secret) -> io::Result<Vec<u8>> {
    archive(BOOT_FILE, 0o600, boot.expose())
}

/// Says that the instance was asked to end, as a file for its directory.
pub(crate) fn asked_archive() -> io::Result<Vec<u8>> {
    archive(ASKED_FILE, 0o444, b"")
}

fn archive(name: &str, mode: u32, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = header(mode, USER);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, name, bytes)?;
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ftl_core::key::{Epoch, RunnerKey};

    fn spec() -> InstanceSpec {
        let (cluster, language) = ("c-1".parse().unwrap(), "rust".parse().unwrap());
        InstanceSpec::new(cluster, RunnerKey(41), language, Epoch(7), Vec::new(), Secret::new(*b"hidden"))
    }

    const SHARED: Shared<'_> =
        Shared { image: "ftl-runner:1", network: "network-id", owner: Some("here:/data") };

    fn options() -> Options {
        Options::new("docker".parse().unwrap(), "x86_64-unknown-linux-gnu".parse().unwrap())
    }

    #[test]
    fn names_follow_from_the_identity() {
        let mut spec = spec();
        assert_eq!((name(&spec), host_name(&spec)), ("ftl-c-1-runner-41".into(), "runner-41".into()));
        spec.labels.insert("module".into(), "shop_cart".into());
        assert_eq!((name(&spec), host_name(&spec)), ("ftl-c-1-shop_cart-41".into(), "shop-cart-41".into()));
        spec.labels.insert("module".into(), "../x".into());
        assert_eq!(name(&spec), "ftl-c-1-runner-41");
        spec.labels.insert("module".into(), "m".repeat(100));
        assert_eq!(host_name(&spec).len(), HOST_NAME_BYTES_MAX);
    }

    #[test]
    fn a_container_may_do_nothing_that_it_need_not() {
        let mut spec = spec();
        let body = |spec: &InstanceSpec| body(spec, &["runner".into()], SHARED, &options());
        let plain = body(&spec);
        let host = plain.host_config.clone().unwrap();
        assert_eq!((plain.user.as_deref(), plain.cmd), (Some("65532:65532"), Some(vec!["runner".into()])));
        assert_eq!((host.readonly_rootfs, host.init, host.pids_limit), (Some(true), Some(true), Some(1024)));
        assert_eq!(host.cap_drop, Some(vec!["ALL".into()]));
        assert_eq!((host.memory, host.memory_swap, host.nano_cpus), (None, None, None));
        assert_eq!(host.auto_remove, None, "it would take exit and output with it");

        spec.needs.limits.memory_bytes = Some(64 << 20);
        spec.needs.limits.cpu_millis = Some(1500);
        spec.needs.limits.pids = Some(7);
        let host = body(&spec).host_config.unwrap();
        assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
        assert_eq!((host.nano_cpus, host.pids_limit), (Some(1_500_000_000), Some(7)));
    }

    #[test]
    fn a_container_and_its_volume_say_whose_they_are() {
        let body = body(&spec(), &[], SHARED, &options());
        assert_eq!(marks::owner(&body.labels.unwrap()), SHARED.owner);
        let volume = body.host_config.unwrap().mounts.unwrap().remove(0).volume_options.unwrap();
        assert_eq!(marks::owner(&volume.labels.unwrap()), SHARED.owner);
    }

    #[test]
    fn the_boot_document_is_only_in_its_file() {
        let spec = spec();
        let body = body(&spec, &[], SHARED, &options());
        let shown = serde_json::to_string(&body).unwrap();
        assert!(!shown.contains("hidden") && shown.contains("FTL_BOOT=/var/lib/ftl/boot.json"), "{shown}");
        let bytes = boot_archive(&spec.boot).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!((entry.header().mode().unwrap(), entry.header().uid().unwrap()), (0o600, u64::from(USER)));
    }

    #[test]
    fn the_environment_is_the_specifications_and_then_ours() {
        let mut spec = spec();
        spec.env.insert("FTL_DIR".into(), "/elsewhere".into());
        spec.env.insert("TZ".into(), "Europe/Vienna".into());
        let expected = [
            "FTL_BOOT=/var/lib/ftl/boot.json",
            "FTL_DIR=/var/lib/ftl",
            "FTL_LIBRARIES=artefacts",
            "TINI_VERBOSITY=2",
            "TZ=Europe/Vienna",
        ];
        let found = environment(&spec, Some("UTC".into()));
        assert_eq!(found, expected);
    }
}
