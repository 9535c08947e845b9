//! A database in a network, as somebody else would run them here: nothing of it carries a label of ours.
//!
//! No image can be pulled where tests run, so this one is assembled from the files of the Debian package.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, NetworkCreateRequest, NetworkInspect};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, InspectContainerOptions, InspectNetworkOptions,
    LogsOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptions, StartContainerOptions,
};
use futures_util::TryStreamExt;
use tests::{block_on, wait_until};

/// The network, as the module's `ftl.toml` names it.
const NETWORK: &str = "portable-shop";
/// The name of the database's container.
pub(crate) const DATABASE: &str = "portable-postgres";
/// Who may ask it.
pub(crate) const USER: &str = "shop";
/// What he must say.
pub(crate) const PASSWORD: &str = "of-the-shop";
/// Its image.
const IMAGE: (&str, &str) = ("portable-postgres", "15");
/// Where Debian puts its programs, and its data.
const PROGRAMS: &str = "/usr/lib/postgresql/15";
const SHARED: &str = "/usr/share/postgresql/15";
/// The user that it runs as; it refuses to run as root.
const UID: u32 = 999;
/// What a fresh one does: makes its cluster of databases in memory, and serves.
const SCRIPT: &str = "set -e; cd /tmp; echo \"$PASSWORD\" > password
initdb=/usr/lib/postgresql/15/bin/initdb data=/tmp/data
$initdb -D $data -U \"$USER\" -A scram-sha-256 --pwfile=password --locale=C -E UTF8 --no-sync
echo 'host all all all scram-sha-256' >> $data/pg_hba.conf
exec /usr/lib/postgresql/15/bin/postgres -D $data -h '*' -k /tmp -F";

/// The network and the database in it. Both go when it is dropped.
pub(crate) struct Shop {
    /// The address of this machine in the network.
    pub(crate) gateway: IpAddr,
    /// The address of the database.
    pub(crate) address: IpAddr,
}

fn docker() -> Docker {
    Docker::connect_with_defaults().unwrap()
}

impl Shop {
    /// Makes it, and waits until the database answers.
    pub(crate) fn open() -> Self {
        let image = image();
        block_on(async {
            // What a killed run left.
            remove().await;
            let docker = docker();
            let network =
                NetworkCreateRequest { name: NETWORK.to_owned(), ..NetworkCreateRequest::default() };
            docker.create_network(network).await.unwrap();
            let (repository, tag) = IMAGE;
            let import = CreateImageOptionsBuilder::new().from_src("-").repo(repository).tag(tag).build();
            let body = bollard::body_full(image.into());
            docker.create_image(Some(import), Some(body), None).try_collect::<Vec<_>>().await.unwrap();
            let options = CreateContainerOptionsBuilder::new().name(DATABASE).build();
            docker.create_container(Some(options), container()).await.unwrap();
            docker.start_container(DATABASE, None::<StartContainerOptions>).await.unwrap();
        });
        // Once for the run that makes its databases, which nobody can reach, and once for good.
        wait_until("the database is ready", || said().contains("ready to accept connections"));
        let (gateway, address) = block_on(addresses());
        Self { gateway, address }
    }

    /// All that the engine tells of the network.
    pub(crate) fn network(&self) -> NetworkInspect {
        block_on(async { docker().inspect_network(NETWORK, None::<InspectNetworkOptions>).await }).unwrap()
    }

    /// Whether somebody made the network.
    pub(crate) fn has_network() -> bool {
        block_on(async { docker().inspect_network(NETWORK, None::<InspectNetworkOptions>).await }).is_ok()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        block_on(remove());
    }
}

async fn remove() {
    let docker = docker();
    let force = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let _ = docker.remove_container(DATABASE, Some(force)).await;
    let _ = docker.remove_network(NETWORK).await;
    let (repository, tag) = IMAGE;
    let _ = docker.remove_image(&format!("{repository}:{tag}"), None::<RemoveImageOptions>, None).await;
}

fn container() -> ContainerCreateBody {
    let (repository, tag) = IMAGE;
    ContainerCreateBody {
        image: Some(format!("{repository}:{tag}")),
        user: Some(format!("{UID}:{UID}")),
        env: Some(vec![format!("USER={USER}"), format!("PASSWORD={PASSWORD}")]),
        cmd: Some(["/bin/sh", "-c", SCRIPT].map(str::to_owned).to_vec()),
        host_config: Some(HostConfig {
            network_mode: Some(NETWORK.to_owned()),
            tmpfs: Some(HashMap::from([("/tmp".to_owned(), "mode=1777".to_owned())])),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// What the database's container wrote so far.
fn said() -> String {
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).build();
    let lines: Vec<_> = block_on(docker().logs(DATABASE, Some(options)).try_collect()).unwrap();
    lines.iter().map(ToString::to_string).collect()
}

async fn addresses() -> (IpAddr, IpAddr) {
    let found = docker().inspect_container(DATABASE, None::<InspectContainerOptions>).await.unwrap();
    let endpoint = &found.network_settings.unwrap().networks.unwrap()[NETWORK];
    let address = |text: &Option<String>| text.as_deref().unwrap().parse().unwrap();
    (address(&endpoint.gateway), address(&endpoint.ip_address))
}

/// The files of an image: the programs with the libraries that they need, and what they read.
fn image() -> Vec<u8> {
    let of_programs = ["bin/postgres", "bin/initdb", "lib/plpgsql.so", "lib/dict_snowball.so"];
    let mut files: BTreeSet<PathBuf> = BTreeSet::new();
    let programs = of_programs.iter().map(|name| Path::new(PROGRAMS).join(name));
    for program in programs.chain(["/bin/sh".into()]) {
        assert!(program.exists(), "{} is missing: install the package postgresql-15", program.display());
        files.extend(libraries(&program));
        files.insert(program);
    }
    let mut tar = tar::Builder::new(Vec::new());
    // Links are followed: they lead to other directories.
    for file in &files {
        tar.append_path_with_name(file, file.strip_prefix("/").unwrap()).unwrap();
    }
    tar.append_dir_all(SHARED.trim_start_matches('/'), SHARED).unwrap();
    let user = format!("postgres:x:{UID}:{UID}::/tmp:/bin/sh\n");
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(user.len() as u64);
    tar.append_data(&mut header, "etc/passwd", user.as_bytes()).unwrap();
    tar.into_inner().unwrap()
}

/// The libraries of a program, and its loader.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = Command::new("ldd").arg(program).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}
