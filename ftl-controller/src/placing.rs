//! Whether a module can run where it is wanted: a pure function of what the module is and what platforms say of themselves.

use ftl_core::DeploymentSpec;
use ftl_core::name::{ModuleName, PlatformName, nearest};
use ftl_core::platform::{Description, Unmet};

/// Which of the platforms is the wanted one; or in words why the module cannot run there, and where it can.
pub(crate) fn place(
    module: &ModuleName,
    spec: &DeploymentSpec,
    wanted: &PlatformName,
    platforms: &[&Description],
) -> Result<usize, String> {
    let at = platforms.iter().position(|platform| platform.name == *wanted);
    let at = at.ok_or_else(|| unknown(wanted, platforms))?;
    if !runs(platforms[at], spec) {
        return Err(wrong_target(module, spec, platforms[at]));
    }
    let unmet = match spec.needs.on(platforms[at]) {
        Ok(_) => return Ok(at),
        Err(unmet) => unmet,
    };
    let able = |platform: &&&Description| runs(platform, spec) && spec.needs.on(platform).is_ok();
    let able: Vec<&str> = platforms.iter().filter(able).map(|platform| platform.name.as_str()).collect();
    let able = match able[..] {
        [] => "no configured platform can".to_owned(),
        _ => format!("{} can", able.join(", ")),
    };
    let what = match unmet {
        Unmet::Capability(capability) => {
            format!("`{module}` wants `{capability}`, which `{wanted}` cannot do")
        }
        unmet => format!("`{module}`: `{wanted}` {unmet}"),
    };
    Err(format!("{what}; {able}; `best_effort = true` leaves out what a platform cannot do"))
}

fn unknown(wanted: &PlatformName, platforms: &[&Description]) -> String {
    let names: Vec<&str> = platforms.iter().map(|platform| platform.name.as_str()).collect();
    let near = nearest(wanted.as_str(), names.iter().copied());
    let near = near.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    format!("there is no platform `{wanted}`, only {}{near}", names.join(", "))
}

/// A platform that names no targets runs whatever it is given.
fn runs(platform: &Description, spec: &DeploymentSpec) -> bool {
    platform.targets.is_empty() || platform.targets.contains(&spec.target)
}

fn wrong_target(module: &ModuleName, spec: &DeploymentSpec, platform: &Description) -> String {
    let runs: Vec<&str> = platform.targets.iter().map(|target| target.as_str()).collect();
    let first = runs.first().copied().unwrap_or_default();
    let (built, name, all) = (&spec.target, &platform.name, runs.join(", "));
    format!("{module} is built for {built}, {name} runs {all}: ftl build --target {first}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ftl_core::artefact::Manifest;
    use ftl_core::platform::{Capability, Needs};
    use ftl_core::schema::Module;

    const LINUX: &str = "x86_64-unknown-linux-gnu";

    fn platforms() -> [Description; 2] {
        let target = || vec![LINUX.parse().unwrap()];
        let docker = Description::new("docker".parse().unwrap(), target());
        [
            Description::new("local".parse().unwrap(), target()),
            docker.with_capabilities([Capability::LimitMemory, Capability::Networks]),
        ]
    }

    fn placed(target: &str, needs: Needs, on: &str) -> Result<usize, String> {
        let module: ModuleName = "greeter".parse().unwrap();
        let schema = Module::new(module.clone());
        let (language, target) = ("rust".parse().unwrap(), target.parse().unwrap());
        let spec = DeploymentSpec::new(schema, language, target, Manifest::default()).with_needs(needs);
        let platforms = platforms();
        place(&module, &spec, &on.parse().unwrap(), &platforms.iter().collect::<Vec<_>>())
    }

    fn memory() -> Needs {
        let mut needs = Needs::default();
        needs.limits.memory_bytes = Some(64 << 20);
        needs
    }

    #[test]
    fn what_can_run_is_placed() {
        assert_eq!(placed(LINUX, Needs::default(), "local"), Ok(0));
        assert_eq!(placed(LINUX, memory(), "docker"), Ok(1));
        let mut best = memory();
        best.best_effort = true;
        assert_eq!(placed(LINUX, best, "local"), Ok(0));
    }

    #[test]
    fn what_cannot_is_refused_with_the_way_out() {
        let refused = |target: &str, needs: Needs, on: &str| placed(target, needs, on).unwrap_err();
        assert_eq!(
            refused(LINUX, Needs::default(), "dokcer"),
            "there is no platform `dokcer`, only local, docker; did you mean `docker`?"
        );
        assert_eq!(
            refused("aarch64-apple-darwin", Needs::default(), "docker"),
            "greeter is built for aarch64-apple-darwin, docker runs x86_64-unknown-linux-gnu: ftl build --target x86_64-unknown-linux-gnu"
        );
        assert_eq!(
            refused(LINUX, memory(), "local"),
            "`greeter` wants `limit_memory`, which `local` cannot do; docker can; `best_effort = true` leaves out what a platform cannot do"
        );
        let mut pids = Needs::default();
        pids.limits.pids = Some(10);
        assert_eq!(
            refused(LINUX, pids, "docker"),
            "`greeter` wants `limit_pids`, which `docker` cannot do; no configured platform can; `best_effort = true` leaves out what a platform cannot do"
        );
    }
}
