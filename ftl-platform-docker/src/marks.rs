//! What marks a container, a network, a volume or an image as ours: labels carry all that is known of an instance, so
//! that nothing needs to be kept anywhere else.

use std::collections::HashMap;

use ftl_core::digest::Digest;
use ftl_core::key::{Epoch, RunnerKey};
use ftl_core::name::ClusterId;
use ftl_core::platform::InstanceSpec;

/// Who made it; on everything that this crate makes.
pub(crate) const MANAGED_BY: &str = "ftl.managed-by";
/// The value of [`MANAGED_BY`].
pub(crate) const US: &str = "ftl";
/// The digest of what is in an image.
pub(crate) const IMAGE_HASH: &str = "ftl.image.hash";
/// Whose it is.
pub(crate) const CLUSTER: &str = "ftl.cluster";
/// For people: who asked for it, as `HOST:DATA DIRECTORY`; on all that a cluster has, because any of it may go first.
pub(crate) const OWNER: &str = "ftl.owner";
/// On the container of a canary.
pub(crate) const CANARY: &str = "ftl.canary";
const RUNNER: &str = "ftl.runner";
const GENERATION: &str = "ftl.generation";
const DIGEST: &str = "ftl.spec-digest";
const LANGUAGE: &str = "ftl.language";
const VERSION: &str = "ftl.version";
/// Before the labels of a specification: module, deployment.
const PREFIX: &str = "ftl.";

/// Labels, as the driver wants them.
pub(crate) type Labels = HashMap<String, String>;
/// Filters of a list, as the driver wants them.
pub(crate) type Filters = HashMap<&'static str, Vec<String>>;

/// What the labels of a container say of its instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) cluster: ClusterId,
    pub(crate) runner: RunnerKey,
    pub(crate) generation: Epoch,
    pub(crate) digest: Digest,
}

impl Marks {
    /// Reads labels; `None` when they are not those of an instance of ours.
    pub(crate) fn of(labels: &Labels) -> Option<Self> {
        let read = |label| labels.get(label).map(String::as_str);
        (read(MANAGED_BY) == Some(US)).then_some(())?;
        Some(Self {
            cluster: read(CLUSTER)?.parse().ok()?,
            runner: read(RUNNER)?.parse().ok()?,
            generation: read(GENERATION)?.parse().ok()?,
            digest: read(DIGEST)?.parse().ok()?,
        })
    }
}

/// The labels of an instance's container.
pub(crate) fn of_instance(spec: &InstanceSpec, owner: Option<&str>) -> Labels {
    let mut labels: Labels =
        spec.labels.iter().map(|(name, value)| (format!("{PREFIX}{name}"), value.clone())).collect();
    // After those of the specification, which can name nothing that is ours.
    labels.extend(of_owned(&spec.cluster, owner));
    labels.extend([
        (RUNNER.to_owned(), spec.runner.to_string()),
        (GENERATION.to_owned(), spec.generation.to_string()),
        (DIGEST.to_owned(), spec.digest().to_string()),
        (LANGUAGE.to_owned(), spec.language.to_string()),
        (VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    labels
}

/// The labels of what the instances of a cluster share.
pub(crate) fn of_cluster(cluster: &ClusterId) -> Labels {
    Labels::from([(MANAGED_BY.to_owned(), US.to_owned()), (CLUSTER.to_owned(), cluster.to_string())])
}

/// The same, with who asked for it, as far as that is known.
pub(crate) fn of_owned(cluster: &ClusterId, owner: Option<&str>) -> Labels {
    let mut labels = of_cluster(cluster);
    labels.extend(owner.map(|owner| (OWNER.to_owned(), owner.to_owned())));
    labels
}

/// Who asked for something of ours, if it says so.
pub(crate) fn owner(labels: &Labels) -> Option<&str> {
    labels.get(OWNER).map(String::as_str).filter(|owner| !owner.is_empty())
}

/// Whether something of ours belongs to this cluster.
pub(crate) fn is_of(labels: &Labels, cluster: &ClusterId) -> bool {
    labels.get(MANAGED_BY).is_some_and(|by| by == US)
        && labels.get(CLUSTER).is_some_and(|of| of == cluster.as_str())
}

/// The runner that an event tells of.
pub(crate) fn runner(labels: &Labels) -> Option<RunnerKey> {
    labels.get(RUNNER)?.parse().ok()
}

/// Finds everything of ours.
pub(crate) fn all() -> Filters {
    Filters::from([("label", vec![format!("{MANAGED_BY}={US}")])])
}

/// Finds everything of a cluster.
pub(crate) fn all_of(cluster: &ClusterId) -> Filters {
    let mut filters = all();
    filters.entry("label").or_default().push(format!("{CLUSTER}={cluster}"));
    filters
}

/// Finds the container of an instance.
pub(crate) fn instance(cluster: &ClusterId, runner: RunnerKey) -> Filters {
    let mut filters = all_of(cluster);
    filters.entry("label").or_default().push(format!("{RUNNER}={runner}"));
    filters
}

#[cfg(test)]
mod tests {
    use super::*;
    use ftl_core::Secret;

    fn spec() -> InstanceSpec {
        let (cluster, language) = ("c-1".parse().unwrap(), "rust".parse().unwrap());
        let mut spec = InstanceSpec::new(
            cluster,
            RunnerKey(41),
            language,
            Epoch(7),
            Vec::new(),
            Secret::new(*b"hidden"),
        );
        spec.labels.insert("module".into(), "greeter".into());
        spec
    }

    #[test]
    fn an_instance_is_found_again_by_its_labels() {
        let spec = spec();
        let labels = of_instance(&spec, Some("here:/data"));
        assert_eq!(labels["ftl.module"], "greeter");
        assert_eq!(owner(&labels), Some("here:/data"));
        assert_eq!(owner(&of_instance(&spec, None)), None);
        let marks = Marks::of(&labels).unwrap();
        assert_eq!(
            (marks.cluster, marks.runner, marks.generation),
            ("c-1".parse().unwrap(), RunnerKey(41), Epoch(7))
        );
        assert_eq!(marks.digest, spec.digest());
        assert!(!format!("{labels:?}").contains("hidden"));
    }

    #[test]
    fn a_specification_cannot_forge_marks() {
        let mut spec = spec();
        spec.labels.insert("runner".into(), "1".into());
        spec.labels.insert("cluster".into(), "other".into());
        assert_eq!(Marks::of(&of_instance(&spec, None)).unwrap().runner, RunnerKey(41));
    }

    #[test]
    fn what_is_not_ours_has_no_marks() {
        let ours = of_instance(&spec(), None);
        for label in [MANAGED_BY, CLUSTER, RUNNER, GENERATION, DIGEST] {
            let mut labels = ours.clone();
            labels.remove(label);
            assert_eq!(Marks::of(&labels), None, "{label}");
        }
        let mut labels = ours;
        labels.insert(MANAGED_BY.into(), "somebody".into());
        assert_eq!(Marks::of(&labels), None);
    }
}
