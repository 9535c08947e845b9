//! What the instances of a cluster share, and how they reach the Controller.

use std::net::SocketAddr;

use ftl_core::platform::{ClusterAccess, ClusterSpec, ErrorKind, PlatformError, ProgramSource};

use crate::backend::Backend;
use crate::connect::Place;
use crate::container::HOST_GATEWAY;
use crate::network::{self, Network};

impl Backend {
    /// Loads the images of a cluster's programs, makes its network, and says how its instances reach the Controller.
    pub(crate) async fn prepare(&self, spec: &ClusterSpec) -> Result<ClusterAccess, PlatformError> {
        for program in &spec.programs {
            if let ProgramSource::Binary { path, .. } = program {
                self.images.ensure(&self.engine, path).await?;
            }
        }
        let network = {
            let _one_at_a_time = self.networking.lock().await;
            network::ensure(&self.engine, spec).await?
        };
        access(self.engine.place().await?, &network, spec.port(), self.options.advertise.as_deref())
    }
}

/// How containers reach the Controller.
fn access(
    place: Place,
    network: &Network,
    port: Option<u16>,
    advertise: Option<&str>,
) -> Result<ClusterAccess, PlatformError> {
    if let Some(advertise) = advertise {
        return advertised(advertise, port);
    }
    let Some(port) = port else { return Err(no_port("containers reach the Controller by TCP")) };
    let refuse = |engine: &str| {
        let message =
            format!("containers of {engine} do not reach a Controller on this machine by themselves");
        PlatformError::new(ErrorKind::Unsupported, message).with_hint(format!(
            "make a way to 127.0.0.1:{port}, where it listens, and say where it begins: \
                 `FTL_DOCKER_ADVERTISE=HOST:PORT`"
        ))
    };
    match (place, network.gateway) {
        (Place::Native, Some(gateway)) => {
            let listen = SocketAddr::new(gateway, port);
            Ok(ClusterAccess::new(vec![format!("tcp:{listen}")]).with_listen(listen))
        }
        (Place::Native, None) => Err(refuse("a docker network without a gateway")),
        // Leads to this machine's loopback.
        (Place::Desktop, _) => Ok(ClusterAccess::new(vec![format!("tcp:{HOST_GATEWAY}:{port}")])),
        (Place::Rootless, _) => Err(refuse("a rootless docker engine")),
        (Place::Remote, _) => Err(refuse("a docker engine that is reached by TCP")),
    }
}

fn advertised(advertise: &str, port: Option<u16>) -> Result<ClusterAccess, PlatformError> {
    let has_port = advertise.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = match port {
        _ if has_port => format!("tcp:{advertise}"),
        Some(port) => format!("tcp:{advertise}:{port}"),
        None => return Err(no_port(&format!("`advertise` is `{advertise}`, without a port"))),
    };
    Ok(ClusterAccess::new(vec![address]))
}

fn no_port(why: &str) -> PlatformError {
    PlatformError::new(ErrorKind::Invalid, format!("{why}, and the Controller listens at no TCP port"))
        .with_hint("let it listen at `tcp:127.0.0.1:PORT`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(
        place: Place,
        port: Option<u16>,
        advertise: Option<&str>,
    ) -> Result<ClusterAccess, PlatformError> {
        let gateway = Some([172, 30, 0, 1].into());
        let network = Network { id: "x".into(), gateway, owner: None };
        access(place, &network, port, advertise)
    }

    #[test]
    fn how_the_controller_is_reached_follows_from_the_engine() {
        let native = reached(Place::Native, Some(8800), None).unwrap();
        assert_eq!(native.controllers, ["tcp:172.30.0.1:8800"]);
        assert_eq!(native.listen, ["172.30.0.1:8800".parse().unwrap()]);
        let desktop = reached(Place::Desktop, Some(8800), None).unwrap();
        assert_eq!(
            (desktop.controllers, desktop.listen),
            (vec!["tcp:host.docker.internal:8800".into()], vec![])
        );
        for place in [Place::Rootless, Place::Remote] {
            let error = reached(place, Some(8800), None).unwrap_err();
            assert!(error.hint.unwrap().contains("FTL_DOCKER_ADVERTISE"));
            assert_eq!(reached(place, Some(8800), Some("far")).unwrap().controllers, ["tcp:far:8800"]);
            assert_eq!(reached(place, None, Some("far:1")).unwrap().controllers, ["tcp:far:1"]);
        }
        assert!(reached(Place::Native, None, None).is_err());
        assert!(reached(Place::Native, None, Some("far")).is_err());
    }
}
