//! `ftl platform sweep docker`: what dead clusters left goes, and nothing else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::docker::Engine;
use tests::project::{TICKER, workspace};
use tests::proxy::Proxy;
use tests::{Running, Sandbox, wait_until};

const LIST: &[&str] = &["platform", "sweep", "docker", "--format", "json"];

/// A project of one small module, whose `.ftl` is nobody else's.
fn project(sandbox: &Sandbox) -> PathBuf {
    let folder = sandbox.path("project");
    workspace(&folder, &[("small", TICKER)]);
    folder
}

/// The clusters of a list that are to be swept, or are shown and left alone.
fn clusters<'a>(swept: &'a Value, which: &str) -> Vec<&'a str> {
    swept[which].as_array().unwrap().iter().map(|left| left["cluster"].as_str().unwrap()).collect()
}

/// What the list says of this cluster, if it is one to be swept or one that is left alone.
fn listed(sandbox: &Sandbox, cluster: &str) -> [Option<Value>; 2] {
    let list = sandbox.run(LIST).expect(0).json();
    ["clusters", "unknown"].map(|which| {
        let mut found = list[which].as_array().unwrap().iter();
        found.find(|left| left["cluster"] == cluster).cloned()
    })
}

#[test]
fn what_a_killed_dev_left_is_swept_and_what_lives_or_may_return_is_not() {
    let Some(engine) = Engine::find("what_a_killed_dev_left_is_swept_and_what_lives_or_may_return_is_not")
    else {
        return;
    };
    let sandbox = Sandbox::new().with_shared_target();
    let folder = project(&sandbox);
    let project = folder.to_str().unwrap();
    let [killed, live, returnable] =
        &["killed", "live", "returnable"].map(|name| Engine::cluster(&format!("sweep-{name}")));
    let mut dev =
        sandbox.start(&["dev", project, "--platform", "docker", "--cluster", killed, "--format", "json"]);
    dev.wait_until_ready();
    assert_eq!(listed(&sandbox, killed), [None, None], "it lives");
    let dead = engine.containers(killed).remove(0);
    let image = engine.inspect(&dead.id).config.unwrap().image.unwrap();
    let _ = dev.end(Signal::KILL);
    // Also when the network is gone that was made first.
    engine.kill_and_prune(killed);

    let served = |data: &str, cluster: &str| {
        let serve = sandbox.serve_with(data, &["--cluster", cluster]);
        let _ = sandbox.run_at(&serve, &["deploy", project, "--platform", "docker"]).expect(0);
        serve
    };
    let serve = served("live", live);
    let _ = served("returnable", returnable).end(Signal::TERM).expect(0);
    let of_others = || [engine.containers(live), engine.containers(returnable)];
    // A container may serve before the engine says that it runs.
    wait_until("both run", || of_others().iter().flatten().filter(|found| found.running).count() == 2);
    let before = of_others();
    assert_eq!(before.each_ref().map(Vec::len), [1, 1]);
    for cluster in [live, returnable] {
        assert_eq!(listed(&sandbox, cluster), [None, None], "{cluster}");
    }
    let [Some(left), None] = listed(&sandbox, killed) else { panic!("it is dead") };
    assert_eq!((&left["containers"], &left["networks"]), (&json!([dead.name]), &json!([])));
    assert!(left["owners"][0].as_str().unwrap().contains(project), "{left}");

    let swept = sandbox.run(&[LIST, &["--cluster", killed, "--yes"]].concat()).expect(0).json();
    assert_eq!((clusters(&swept, "clusters"), &swept["left"]), (vec![killed.as_str()], &json!([])));
    assert_eq!(swept["removed"], json!([format!("container {}", dead.name)]), "its volume went with it");
    assert_eq!(swept["images"], json!([]), "images belong to no cluster");
    engine.assert_nothing_of(killed);
    assert_eq!(of_others(), before, "and nothing else went");
    assert_eq!(engine.tags(&image), [image.as_str()]);
    let again = sandbox.run(&["platform", "sweep", "docker", "--cluster", killed, "--yes"]).expect(0);
    assert_eq!(again.stdout, "nothing is left\n");

    let _ = serve.end(Signal::TERM).expect(0);
    // As the next `dev` would.
    fs::remove_dir_all(folder.join(".ftl")).unwrap();
    sandbox.finish();
    for cluster in [live, returnable] {
        engine.assert_nothing_of(cluster);
    }
}

/// A cluster on an engine that is only told of: a container, a network and a volume.
struct Told {
    name: &'static str,
    owner: String,
}

impl Told {
    fn labels(&self) -> Value {
        json!({
            "ftl.managed-by": "ftl", "ftl.cluster": self.name, "ftl.owner": self.owner, "ftl.runner": "7",
            "ftl.generation": "1", "ftl.spec-digest": "0".repeat(64),
        })
    }

    fn container(&self) -> Value {
        json!({
            "Id": format!("c-{}", self.name), "Names": [format!("/ftl-{}-small-7", self.name)],
            "Image": "ftl-runner:used", "ImageID": "i", "State": "exited", "Labels": self.labels(),
        })
    }

    fn network(&self) -> Value {
        json!({ "Id": format!("n-{}", self.name), "Name": format!("ftl-{}", self.name), "Labels": self.labels() })
    }

    fn volume(&self) -> Value {
        json!({
            "Name": format!("v-{}", self.name), "Driver": "local", "Mountpoint": "/", "Scope": "local",
            "Options": {}, "Labels": self.labels(),
        })
    }
}

fn image(tag: &str) -> Value {
    json!({
        "Id": tag, "RepoTags": [format!("ftl-runner:{tag}")], "ParentId": "", "RepoDigests": [], "Created": 0,
        "Size": 0, "SharedSize": 0, "Labels": {}, "Containers": 0,
    })
}

/// What an engine that has these clusters answers.
fn answer(told: &[Told], request: &str) -> (u16, String) {
    let (method, rest) = request.split_once(' ').unwrap();
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = path.trim_start_matches("/v1.41");
    // All, or those of one cluster.
    let asked = |told: &&Told| {
        !query.contains("ftl.cluster%3D") || query.contains(&format!("ftl.cluster%3D{}%22", told.name))
    };
    let list = |one: fn(&Told) -> Value| told.iter().filter(asked).map(one).collect::<Vec<Value>>();
    let body = match (method, path) {
        ("GET", "/version") => json!({ "ApiVersion": "1.41", "Version": "20.10" }),
        ("GET", "/info") => json!({ "OperatingSystem": "nothing" }),
        ("GET", "/containers/json") => list(Told::container).into(),
        ("GET", "/networks") => list(Told::network).into(),
        ("GET", "/volumes") => json!({ "Volumes": list(Told::volume), "Warnings": [] }),
        ("GET", "/images/json") => json!([image("used"), image("unused")]),
        ("DELETE", path) if path.starts_with("/images/") => json!([]),
        ("DELETE", _) => return (204, String::new()),
        _ => return (404, json!({ "message": "there is none" }).to_string()),
    };
    (200, body.to_string())
}

/// The data directories of a `dev` that was killed, of a Controller that works, and of one that can be started again.
fn directories(sandbox: &Sandbox) -> (PathBuf, Running, [PathBuf; 2]) {
    let live = sandbox.serve("live");
    let _ = sandbox.serve("returnable").end(Signal::TERM).expect(0);
    let of_dev = sandbox.path("project/.ftl/dev-1");
    fs::create_dir_all(&of_dev).unwrap();
    fs::copy(sandbox.path("returnable/controller.db"), of_dev.join("controller.db")).unwrap();
    (of_dev, live, ["live", "returnable"].map(|name| sandbox.path(name)))
}

#[test]
fn all_that_is_dead_and_every_unused_image_is_removed_and_no_more() {
    let sandbox = Sandbox::new();
    let (of_dev, live, [working, returnable]) = directories(&sandbox);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
    let here = |data: &Path| format!("{host}:{}", data.display());
    let told = [
        ("dead-dev", here(&of_dev)),
        ("dead", here(Path::new("/nowhere/data"))),
        ("live", here(&working)),
        ("returnable", here(&returnable)),
        ("far", "elsewhere.invalid:/nowhere/data".to_owned()),
        ("nobodys", String::new()),
    ];
    let told = told.map(|(name, owner)| Told { name, owner });
    let proxy = Proxy::answering(&sandbox.path("engine.sock"), move |request| Some(answer(&told, request)));
    let sweep = |arguments: &[&str]| {
        let mut command = sandbox.command(&[LIST, arguments].concat());
        tests::Answer::of(command.env("FTL_DOCKER_HOST", proxy.host()).output().unwrap()).expect(0)
    };
    let list = sweep(&[]).json();
    assert_eq!(clusters(&list, "clusters"), ["dead", "dead-dev"], "{list}");
    assert_eq!(clusters(&list, "unknown"), ["far", "nobodys"], "{list}");
    assert_eq!(list["images"], json!(["ftl-runner:unused"]));
    assert_eq!(list["alive"], 2);
    assert_eq!(proxy.changes(), [""; 0], "a list removes nothing");

    let swept = sweep(&["--yes"]).json();
    assert_eq!((&swept["done"], &swept["left"]), (&json!(true), &json!([])));
    let removed: Vec<String> = proxy.changes().iter().map(|request| path_of(request)).collect();
    let expected = ["dead", "dead-dev"].map(|name| {
        [format!("/containers/c-{name}"), format!("/volumes/v-{name}"), format!("/networks/n-{name}")]
    });
    assert_eq!(removed, [expected.concat(), vec!["/images/ftl-runner:unused".to_owned()]].concat());
    let _ = live.end(Signal::TERM).expect(0);
    fs::remove_dir_all(of_dev).unwrap();
    sandbox.finish();
}

/// What a request removes.
fn path_of(request: &str) -> String {
    let path = request.strip_prefix("DELETE ").unwrap().trim_start_matches("/v1.41");
    path.split('?').next().unwrap().to_owned()
}
