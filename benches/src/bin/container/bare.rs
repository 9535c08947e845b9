//! The engine alone: bare containers of the Runner's image, and what is in ours.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use benches::processes::memory;
use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, TopOptionsBuilder,
};
use futures_util::StreamExt;

fn engine() -> Docker {
    Docker::connect_with_defaults().unwrap()
}

/// The image of the containers of a cluster.
pub(crate) async fn image_of(cluster: &str) -> String {
    containers(cluster).await[0].image.clone().unwrap()
}

async fn containers(cluster: &str) -> Vec<bollard::models::ContainerSummary> {
    let filters = HashMap::from([("label", vec![format!("ftl.cluster={cluster}")])]);
    let options = ListContainersOptionsBuilder::new().filters(&filters).build();
    engine().list_containers(Some(options)).await.unwrap()
}

/// From the creation of a bare container, over the engine's API, until it has written a line; it is removed afterwards.
pub(crate) async fn run(image: &str, round: usize) -> Duration {
    let docker = engine();
    let name = format!("ftl-bench-bare-{}-{round}", std::process::id());
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec!["/ftl".to_owned()]),
        cmd: Some(vec!["version".to_owned()]),
        ..ContainerCreateBody::default()
    };
    let start = Instant::now();
    let options = CreateContainerOptionsBuilder::new().name(&name).build();
    docker.create_container(Some(options), body).await.unwrap();
    docker.start_container(&name, None).await.unwrap();
    let logs = LogsOptionsBuilder::new().stdout(true).follow(true).build();
    docker.logs(&name, Some(logs)).next().await.unwrap().unwrap();
    let took = start.elapsed();
    let options = RemoveContainerOptionsBuilder::new().force(true).build();
    docker.remove_container(&name, Some(options)).await.unwrap();
    took
}

/// From `docker run`, the command, until the container's line has arrived; the container is removed afterwards.
pub(crate) fn run_by_command(image: &str) -> Duration {
    let start = Instant::now();
    let mut command = Command::new("docker")
        .args(["run", "--rm", "--entrypoint", "/ftl", image, "version"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the docker command is installed");
    let mut line = String::new();
    BufReader::new(command.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let took = start.elapsed();
    assert!(command.wait().unwrap().success() && line.starts_with("ftl "), "{line}");
    took
}

/// Resident memory of a Runner of a cluster, in bytes, as the kernel has it.
pub(crate) async fn memory_of_runner(cluster: &str) -> u64 {
    let id = containers(cluster).await[0].id.clone().unwrap();
    let options = TopOptionsBuilder::new().ps_args("-eo pid,args").build();
    let processes = engine().top_processes(&id, Some(options)).await.unwrap().processes.unwrap();
    let runner = processes.iter().find(|row| row[1].starts_with("/ftl runner")).expect("a Runner runs");
    memory(runner[0].trim().parse().unwrap())
}
