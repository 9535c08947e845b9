//! No change of code: one module gives the same answers as a process and in a container, wherever its answers come from.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by failing"
)]

mod shop;
mod site;

use rustix::process::Signal;
use serde_json::{Value, json};
use shop::Shop;
use site::Site;
use tests::docker::Engine;
use tests::{Answer, Running, Sandbox};

/// A workspace of its own; its `ftl.toml` asks for the network of [`Shop`].
const PROJECT: &str = "tests/fixtures/portable";
/// The last second before clocks in Vienna went forward.
const MOMENT: i64 = 1_774_745_999;

#[test]
fn the_same_code_gives_the_same_answers_on_both_platforms() {
    let Some(engine) = Engine::find("the_same_code_gives_the_same_answers_on_both_platforms") else { return };
    // Before anything is started for it: the first time, this takes minutes.
    let builder = Sandbox::new();
    let _ = builder.run(&["build", PROJECT]).expect(0);
    builder.finish();
    let shop = Shop::open();
    let (site, stranger) = (Site::start(shop.gateway), Site::start(shop.gateway));
    let sandbox = Sandbox::new();
    let bundle = sandbox.path("certificates.pem");
    std::fs::write(&bundle, site.bundle()).unwrap();
    let sandbox = sandbox.with("SSL_CERT_FILE", bundle.to_str().unwrap());
    let request = request(&site.url(), "localhost", &shop.address.to_string());

    // In the machine's own time zone.
    let call = format!("portable.look {request}");
    let [as_process, in_container] = ["local", "docker"].map(|platform| {
        sandbox
            .run(&["dev", PROJECT, "--platform", platform, "--cluster", &cluster(), "--call", &call])
            .expect(0)
    });
    assert_eq!(as_process.json(), in_container.json());

    // In one that somebody chose, and with a page that nobody should trust.
    let sandbox = sandbox.with("TZ", "Europe/Vienna");
    let distrusted = self::request(&stranger.url(), "localhost", &shop.address.to_string());
    let local = start(&sandbox, "local");
    let (answer, refusal) = (look(&sandbox, &local, &request), look(&sandbox, &local, &distrusted));
    assert_eq!(local.end(Signal::TERM).code, 0);
    assert_eq!(answer.expect(0).json(), expected("2026-03-29T01:59:59+01:00[Europe/Vienna]"));
    assert!(refusal.stdout.contains("invalid peer certificate: UnknownIssuer"), "{refusal:?}");
    let before = shop.network();
    let docker = start(&sandbox, "docker");
    let (again, refused) = (look(&sandbox, &docker, &request), look(&sandbox, &docker, &distrusted));
    assert_eq!(again.json(), expected("2026-03-29T01:59:59+01:00[Europe/Vienna]"));
    assert_eq!((refused.code, refused.stdout), (refusal.code, refusal.stdout));

    // What only a container in that network can: find its neighbour by name.
    let by_name = self::request(&site.url(), shop::DATABASE, shop::DATABASE);
    let found = look(&sandbox, &docker, &by_name).expect(0).json();
    assert_eq!(found["addresses"], json!([[shop.address.to_string()]]));
    let containers = engine.containers(&cluster());
    let image = engine.inspect(&containers[0].id).config.unwrap().image.unwrap();
    assert_eq!(shop.network().containers.unwrap().len(), 2, "the module's container joined");

    assert_eq!(docker.end(Signal::TERM).code, 0);
    engine.assert_nothing_of(&cluster());
    assert_eq!(shop.network(), before, "what is not ours is as it was");
    drop(shop);
    without_the_network(&sandbox);
    engine.assert_nothing_of(&cluster());
    // It holds the certificate of this run, which nobody else trusts.
    engine.remove_image(&image);
    assert!(!engine.runner_images().contains(&image));
    sandbox.finish();
}

/// Nobody made the network that the module asks for: it is not made, and said.
fn without_the_network(sandbox: &Sandbox) {
    let cluster = cluster();
    let arguments = ["dev", PROJECT, "--platform", "docker", "--cluster", &cluster, "--timeout", "10"];
    let answer = sandbox.run(&[&arguments[..], &["--call", "portable.look {}"]].concat()).expect(1);
    assert!(
        answer.says("there is no docker network `portable-shop`, which the module asks to join"),
        "{answer:?}"
    );
    assert!(answer.says("correct `networks` in ftl.toml"), "{answer:?}");
    assert!(!Shop::has_network());
}

fn cluster() -> String {
    Engine::cluster("portable")
}

fn start(sandbox: &Sandbox, platform: &str) -> Running {
    let cluster = cluster();
    let arguments = ["dev", PROJECT, "--platform", platform, "--cluster", &cluster, "--format", "json"];
    let mut running = sandbox.start(&arguments);
    running.wait_until_ready();
    running
}

fn look(sandbox: &Sandbox, running: &Running, request: &Value) -> Answer {
    sandbox.run_at(running, &["call", "portable.look", &request.to_string()])
}

fn request(page: &str, name: &str, database: &str) -> Value {
    let database = format!("host={database} user={} password={} dbname=postgres", shop::USER, shop::PASSWORD);
    json!({ "page": page, "moment": MOMENT, "names": [name], "database": database })
}

fn expected(local_time: &str) -> Value {
    json!({
        "page": site::PAGE,
        "file": "kept for a moment",
        "local_time": local_time,
        "addresses": [["127.0.0.1"]],
        "row": format!("a row of {}", shop::USER),
    })
}
