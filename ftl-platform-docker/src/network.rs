//! The one network of a cluster, and those of somebody else that instances join.
//!
//! Older engines give one name to several networks. So everything is done by id: of several networks of ours the oldest
//! is the one, and whoever made another removes it again.

use std::net::IpAddr;

use bollard::Docker;
use bollard::models::{Network as Found, NetworkConnectRequest, NetworkCreateRequest};
use bollard::query_parameters::{InspectNetworkOptions, ListNetworksOptionsBuilder};
use ftl_core::name::{ClusterId, NetworkName};
use ftl_core::platform::{ClusterSpec, ErrorKind, PlatformError};
use tokio::time::{Instant, sleep};

use crate::connect::Engine;
use crate::error::is_unanswered;
use crate::instances::{SETTLE_LOOK, SETTLE_TIME};
use crate::marks;

/// The network of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) id: String,
    /// The address of the engine's machine in it.
    pub(crate) gateway: Option<IpAddr>,
    /// Who asked for it, if it says so.
    pub(crate) owner: Option<String>,
}

/// What a cluster's network is called.
pub(crate) fn name(cluster: &ClusterId) -> String {
    format!("ftl-{cluster}")
}

/// The network of a cluster, if it is there. One of that name that is not ours is an error.
pub(crate) async fn find(engine: &Engine, cluster: &ClusterId) -> Result<Option<Network>, PlatformError> {
    let named = list(engine, cluster).await?;
    Ok(oldest(&named, cluster)?.map(network))
}

/// Sees to it that a cluster has its network.
pub(crate) async fn ensure(engine: &Engine, spec: &ClusterSpec) -> Result<Network, PlatformError> {
    let cluster = &spec.cluster;
    if let Some(found) = find(engine, cluster).await? {
        return Ok(found);
    }
    let made = create(engine, spec).await;
    // Somebody may have made one too: both look, and both see who was first.
    let named = list(engine, cluster).await?;
    let Some(first) = oldest(&named, cluster)?.map(network) else {
        made?;
        let message = format!("docker made the network {} and does not have it", name(cluster));
        return Err(PlatformError::new(ErrorKind::Busy, message));
    };
    if let Ok(mine) = made
        && mine != first.id
    {
        remove(engine, &mine).await?;
    }
    Ok(first)
}

async fn create(engine: &Engine, spec: &ClusterSpec) -> Result<String, PlatformError> {
    let name = name(&spec.cluster);
    let mut labels = marks::of_cluster(&spec.cluster);
    labels.insert(marks::OWNER.to_owned(), spec.owner.clone());
    let request = NetworkCreateRequest {
        name: name.clone(),
        driver: Some("bridge".to_owned()),
        labels: Some(labels),
        ..NetworkCreateRequest::default()
    };
    let create = |client: Docker| {
        let request = request.clone();
        async move { client.create_network(request).await }
    };
    Ok(engine.change(&format!("make the network {name}"), create).await?.id)
}

async fn list(engine: &Engine, cluster: &ClusterId) -> Result<Vec<Found>, PlatformError> {
    let name = name(cluster);
    let filters = std::collections::HashMap::from([("name", vec![name.clone()])]);
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let listed = engine
        .read("list networks", |client: Docker| {
            let options = Some(options.clone());
            async move { client.list_networks(options).await }
        })
        .await?;
    // The filter takes a part of a name for the name.
    Ok(listed.into_iter().filter(|network| network.name.as_deref() == Some(&name)).collect())
}

/// Networks of a cluster of ours, by label alone.
pub(crate) async fn list_ours(
    engine: &Engine,
    filters: &marks::Filters,
) -> Result<Vec<Found>, PlatformError> {
    let options = ListNetworksOptionsBuilder::new().filters(filters).build();
    let list = |client: Docker| {
        let options = Some(options.clone());
        async move { client.list_networks(options).await }
    };
    engine.read("list networks", list).await
}

fn oldest<'a>(named: &'a [Found], cluster: &ClusterId) -> Result<Option<&'a Found>, PlatformError> {
    let ours = |network: &&Found| network.labels.as_ref().is_some_and(|labels| marks::is_of(labels, cluster));
    if let Some(foreign) = named.iter().find(|network| !ours(network)) {
        let id = foreign.id.as_deref().unwrap_or_default();
        let message = format!("the docker network {} ({}) is not this cluster's", name(cluster), short(id));
        return Err(PlatformError::new(ErrorKind::Conflict, message)
            .with_hint("it was left alone: rename or remove it, or choose another cluster"));
    }
    Ok(named.iter().min_by_key(|network| (&network.created, &network.id)))
}

fn network(found: &Found) -> Network {
    let ipam = found.ipam.as_ref().and_then(|ipam| ipam.config.as_ref());
    let gateways = ipam.into_iter().flatten().filter_map(|config| config.gateway.as_deref());
    let address = |text: &str| text.split('/').next().unwrap_or(text).parse().ok();
    let owner = found.labels.as_ref().and_then(marks::owner).map(str::to_owned);
    Network { id: found.id.clone().unwrap_or_default(), gateway: gateways.filter_map(address).next(), owner }
}

/// Removes a network. One that is gone already is as good.
pub(crate) async fn remove(engine: &Engine, id: &str) -> Result<(), PlatformError> {
    let what = format!("remove the network {}", short(id));
    match engine.change(&what, |client: Docker| async move { client.remove_network(id).await }).await {
        Err(error) if error.kind == ErrorKind::Missing => Ok(()),
        removed => removed,
    }
}

/// The same, for a network whose containers were removed just now: the engine may need a moment to see that.
pub(crate) async fn remove_left(engine: &Engine, id: &str) -> Result<(), PlatformError> {
    let until = Instant::now() + SETTLE_TIME;
    loop {
        match remove(engine, id).await {
            Err(error) if !is_unanswered(&error) && Instant::now() < until => sleep(SETTLE_LOOK).await,
            removed => return removed,
        }
    }
}

/// The ids of networks that must be there already.
pub(crate) async fn existing(
    engine: &Engine,
    names: &[NetworkName],
) -> Result<Vec<(NetworkName, String)>, PlatformError> {
    let mut found = Vec::new();
    for name in names {
        let what = format!("look for the network {name}");
        let inspect = |client: Docker| async move {
            client.inspect_network(name.as_str(), None::<InspectNetworkOptions>).await
        };
        match engine.read(&what, inspect).await {
            Ok(network) => found.push((name.clone(), network.id.unwrap_or_default())),
            Err(error) if error.kind == ErrorKind::Missing => {
                let message = format!("there is no docker network `{name}`, which the module asks to join");
                return Err(PlatformError::new(ErrorKind::Missing, message).with_hint(
                    "start what makes it (`docker compose up`), or correct `networks` in ftl.toml",
                ));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Lets a container join a network that is not ours.
pub(crate) async fn join(
    engine: &Engine,
    container: &str,
    (name, id): &(NetworkName, String),
) -> Result<(), PlatformError> {
    let request = NetworkConnectRequest { container: container.to_owned(), endpoint_config: None };
    let join = |client: Docker| {
        let request = request.clone();
        async move { client.connect_network(id, request).await }
    };
    engine.change(&format!("let a container join the network {name}"), join).await
}

/// The form of an id that people see.
pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::{Ipam, IpamConfig};

    fn found(id: &str, created: &str, cluster: Option<&str>) -> Found {
        let labels = cluster.map(|cluster| marks::of_cluster(&cluster.parse().unwrap()));
        let config = IpamConfig { gateway: Some("172.30.0.1/16".into()), ..IpamConfig::default() };
        let ipam = Ipam { config: Some(vec![config]), ..Ipam::default() };
        Found {
            id: Some(id.into()),
            created: Some(created.into()),
            labels,
            ipam: Some(ipam),
            ..Found::default()
        }
    }

    #[test]
    fn of_several_networks_the_oldest_is_the_one() {
        let cluster = "c".parse().unwrap();
        let named = [found("b", "2026-01-02", Some("c")), found("a", "2026-01-01", Some("c"))];
        let first = network(oldest(&named, &cluster).unwrap().unwrap());
        let gateway = Some([172, 30, 0, 1].into());
        assert_eq!(first, Network { id: "a".into(), gateway, owner: None });
        assert!(oldest(&[], &cluster).unwrap().is_none());
    }

    #[test]
    fn a_network_of_somebody_else_is_named_and_left_alone() {
        let cluster = "c".parse().unwrap();
        for foreign in [None, Some("other")] {
            let named = [found("a", "1", Some("c")), found("0123456789abcdef", "2", foreign)];
            let error = oldest(&named, &cluster).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Conflict);
            assert!(error.message.contains("ftl-c (0123456789ab) is not this cluster's"), "{error}");
        }
    }
}
