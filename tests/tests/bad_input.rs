//! Bad input gets a clear error, a non-zero exit, and nothing changed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ftl_core::artefact::{Artefact, Manifest, Mode};
use ftl_core::controller::{ChangeSpec, ChangeState, Wanted};
use ftl_core::schema::Module;
use ftl_core::{Controller, ControllerError, DeploymentSpec, Digest, Operator};
use futures_util::stream;
use rustix::process::Signal;
use tests::changes::change;
use tests::project::{TICKER, workspace};
use tests::{Answer, Sandbox};

#[track_caller]
fn refused(answer: Answer, code: i32, texts: &[&str]) {
    assert_eq!(answer.code, code, "{answer:#?}");
    for text in texts {
        assert!(answer.says(text), "`{text}` is not in {}", answer.stderr);
    }
}

#[test]
fn calls_that_make_no_sense() {
    let sandbox = Sandbox::new();
    let serve = sandbox.serve("data");
    let _ = sandbox.run_at(&serve, &["deploy", "examples/hello"]).expect(0);
    // Which replicas there are, and what they do; where the platform has them is heard later.
    let replicas = || {
        let ps = sandbox.run_at(&serve, &["ps", "--format", "json"]).json();
        let replicas = ps["modules"][0]["replicas"].as_array().unwrap().clone();
        replicas
            .iter()
            .map(|replica| (replica["runner"].clone(), replica["state"].clone()))
            .collect::<Vec<_>>()
    };
    let before = replicas();
    let call = |arguments: &[&str]| sandbox.run_at(&serve, &[&["call"], arguments].concat());

    refused(
        call(&["greeter.hello", "{name: }"]),
        64,
        &["the request is no JSON5", "line 1", "help: quote it"],
    );
    refused(
        call(&["greter.hello", "{name: 'A'}"]),
        1,
        &["no module `greter` serves; did you mean `greeter`?"],
    );
    refused(call(&["greeter.helo", "{name: 'A'}"]), 1, &["has no verb `helo`; did you mean `hello`?"]);
    refused(call(&["greeter.hello", "{name: 7}"]), 1, &["$.name", "text"]);
    refused(call(&["greeter.hello", "{}"]), 1, &["$.name", "missing"]);
    refused(call(&["greeter"]), 64, &["write `module.verb`"]);
    refused(call(&["ftl.deploy", "{}"]), 64, &["is not a module name"]);
    let large = format!("{{name: '{}'}}", "x".repeat(100 << 10));
    let large_file = vec!["greeter.hello", &large];
    let _ = call(&large_file).expect(0);
    refused(call(&["greeter.hello", "{name: 'A'}", "--timeout", "0"]), 64, &["above 0"]);

    let json = call(&["greeter.helo", "{}", "--format", "json"]).expect(1);
    let error: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
    assert_eq!(
        (error["code"].as_str(), error["verb"].as_str()),
        (Some("not_found"), Some("greeter.helo")),
        "{error}"
    );
    assert_eq!(json.stdout, "");

    assert_eq!(replicas(), before, "nothing changed");
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}

/// Speaks HTTP by hand, and answers with everything that came back.
fn http(address: &str, request: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    // Who refuses may do so before it has read everything.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn requests_that_make_no_sense() {
    let sandbox = Sandbox::new();
    let serve = sandbox.serve("data");
    let address = serve.url.strip_prefix("http://").unwrap().to_owned();
    let token = fs::read_to_string(&serve.token_file).unwrap();
    let post = |path: &str, body: &[u8]| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            token.trim(),
            body.len()
        );
        http(&address, &head, body)
    };
    let reserved = post("/v1/call/ftl/deploy", b"{}");
    assert!(
        reserved.starts_with("HTTP/1.1 403") && reserved.contains("reserved for control messages"),
        "{reserved}"
    );
    let large = post("/v1/call/greeter/hello", &vec![b'x'; 1 << 20]);
    assert!(large.starts_with("HTTP/1.1 429") && large.contains("larger than this path takes"), "{large}");
    let nowhere = post("/v2/call", b"");
    assert!(nowhere.starts_with("HTTP/1.1 404") && nowhere.contains("docs/http.md lists them"), "{nowhere}");
    let garbage = post("/v1/deployments", b"{");
    assert!(garbage.starts_with("HTTP/1.1 400") && garbage.contains("body"), "{garbage}");
    for (paths, rule) in [
        (&["../x"][..], "no part may be empty, `.` or `..`"),
        (&["/etc/x"], "it must be relative"),
        (&["a", "a"], "stands twice"),
    ] {
        let escaping = post("/v1/deployments", deployment_with(paths).as_bytes());
        assert!(escaping.starts_with("HTTP/1.1 400") && escaping.contains(rule), "{escaping}");
    }
    let get = |path: &str| {
        let token = token.trim();
        http(
            &address,
            &format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
            ),
            b"",
        )
    };
    for (path, field) in
        [("/v1/changes/abc", "id"), ("/v1/changes/1?newer_than=x", "newer_than"), ("/v1/logs?tail=x", "tail")]
    {
        let answer = get(path);
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(field), "{answer}");
        assert!(answer.contains("ftl-outcome: refused"), "a client can read it: {answer}");
    }
    let unnamed = post("/v1/call/Greeter/hello", b"{}");
    let (head, body) = unnamed.split_once("\r\n\r\n").unwrap();
    let request = head.lines().find_map(|line| line.strip_prefix("ftl-request: ")).unwrap();
    let failure: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(failure["request"], request, "the id is in the header and in the failure: {unnamed}");
    let stranger = http(&address, "GET /v1/modules HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"");
    assert!(stranger.starts_with("HTTP/1.1 401") && stranger.contains("no API token"), "{stranger}");

    fs::write(sandbox.path("wrong"), "0000").unwrap();
    let wrong = sandbox.path("wrong");
    let arguments = ["--controller", &serve.url, "--token-file", wrong.to_str().unwrap(), "ps"];
    refused(sandbox.run(&arguments), 5, &["the API token is wrong", "--token-file"]);
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}

/// The JSON of a deployment whose artefacts have these paths.
fn deployment_with(paths: &[&str]) -> String {
    let digest = Digest::of(b"");
    let artefact =
        |path: &&str| serde_json::json!({"path": path, "digest": digest, "size": 0, "mode": "executable"});
    let artefacts: Vec<_> = paths.iter().map(artefact).collect();
    let schema = Module::new("script".parse().unwrap());
    serde_json::json!({
        "schema": schema, "language": "rust", "target": "x-y-z", "artefacts": artefacts, "sdk_protocol": 1,
    })
    .to_string()
}

#[test]
fn deployments_that_cannot_be() {
    let sandbox = Sandbox::new();
    let serve = sandbox.serve("data");
    let client = serve.client();
    tests::block_on(async {
        let content = bytes(b"#!/bin/sh\n");
        let digest = Digest::of(&content);
        let send = |bytes: &'static [u8]| Box::pin(stream::iter([Ok(bytes::Bytes::from_static(bytes))]));
        let corrupt = client.upload_artefact(digest, 10, send(b"#!/bin/xx\n")).await.unwrap_err();
        assert!(
            matches!(corrupt, ControllerError::Corrupt { expected, .. } if expected == digest),
            "{corrupt}"
        );
        let cut = client.upload_artefact(digest, 10, send(b"#!/bi")).await.unwrap_err();
        assert!(matches!(cut, ControllerError::Truncated { expected: 10, found: 5 }), "{cut}");
        assert_eq!(client.get_artefact_diffs(&[digest]).await.unwrap(), [digest], "nothing was stored");

        let spec = |language: &str| {
            let artefact =
                Artefact { path: "run".parse().unwrap(), digest, size: 10, mode: Mode::Executable };
            let schema = Module::new("script".parse().unwrap());
            let manifest = Manifest::new(vec![artefact]).unwrap();
            DeploymentSpec::new(schema, language.parse().unwrap(), "x-y-z".parse().unwrap(), manifest)
        };
        let go = client.create_deployment(spec("go")).await.unwrap_err();
        assert_eq!(go.to_string(), "language: `go` cannot be run; supported: rust");
        let missing = client.create_deployment(spec("rust")).await.unwrap_err();
        assert!(matches!(missing, ControllerError::MissingArtefacts(of) if of == [digest]));

        client.upload_artefact(digest, 10, send(b"#!/bin/sh\n")).await.unwrap();
        let deployment = client.create_deployment(spec("rust")).await.unwrap();
        let apply = |platform: &str, request: &str| {
            let wanted =
                Wanted { deployment: deployment.clone(), platform: platform.parse().unwrap(), replicas: 1 };
            client.apply(ChangeSpec::new(request.parse().unwrap(), vec![wanted]))
        };
        let error = apply("locla", "r1").await.unwrap_err().to_string();
        assert!(error.contains("no platform `locla`, only local, docker; did you mean `local`?"), "{error}");
        let error = apply("local", "r2").await.unwrap_err().to_string();
        assert!(error.contains("script is built for x-y-z, local runs"), "{error}");
        assert!(client.status().await.unwrap().is_empty(), "nothing changed");
    });
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}

fn bytes(bytes: &'static [u8]) -> Vec<u8> {
    bytes.to_vec()
}

/// The files of `examples/hello/clock`, deployed with a schema that is not the binary's.
#[test]
fn a_schema_that_is_not_the_binarys() {
    let sandbox = Sandbox::new();
    let serve = sandbox.serve("data");
    let _ = sandbox.run_at(&serve, &["deploy", "examples/hello/clock"]).expect(0);
    let client = serve.client();
    let built = sandbox.run(&["build", "examples/hello/clock", "--format", "json"]).expect(0).json();
    tests::block_on(async {
        let manifest: Manifest = serde_json::from_value(built["modules"][0]["artefacts"].clone()).unwrap();
        let (serving, schemas) = (client.status().await.unwrap(), client.schemas().await.unwrap());
        let mut schema = schemas[0].clone();
        let promised_before = schema.hash().short();
        schema.verbs[0].idempotent = true;
        let promised = schema.hash().short();
        let target = sandbox.target();
        let spec = DeploymentSpec::new(schema, "rust".parse().unwrap(), target, manifest);
        let deployment = client.create_deployment(spec).await.unwrap();
        let wanted = Wanted { deployment, platform: "local".parse().unwrap(), replicas: 1 };
        let status = change(&client, "lie", wanted).await;
        let error = status.modules[0].last_error.clone().unwrap();
        let ChangeState::Failed { reason } = status.state else { panic!("it serves") };
        assert_eq!(reason, "crash loop");
        assert!(error.contains(&promised) && error.contains(&promised_before), "both are named: {error}");
        assert_eq!(
            client.status().await.unwrap()[0].deployment,
            serving[0].deployment,
            "the old one serves on"
        );
    });
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}

#[test]
fn no_controller_is_there() {
    let sandbox = Sandbox::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}");
    let answer = sandbox.run(&["--controller", &url, "ps"]);
    refused(answer, 4, &["no controller answers at", "ftl dev PATH", "ftl serve", "--controller"]);
    refused(sandbox.run(&["--controller", "https://x", "ps"]), 1, &["write http://HOST:PORT"]);
    refused(sandbox.run(&["nonsense"]), 64, &["unrecognized subcommand"]);
    refused(sandbox.run(&["runner"]), 64, &["started by a platform, not by hand"]);
    refused(sandbox.run(&["serve", "--listen", "0.0.0.0:0"]), 1, &["no loopback address"]);
    sandbox.finish();
}

#[test]
fn a_callee_that_does_not_export_what_is_called() {
    let sandbox = Sandbox::new().with_shared_target();
    let serve = sandbox.serve("data");
    // What `clock` was before it could tell the time.
    workspace(&sandbox.path("old"), &[("clock", TICKER)]);
    let old = sandbox.path("old");
    let _ = sandbox.run_at(&serve, &["deploy", old.to_str().unwrap()]).expect(0);
    let _ = sandbox.run_at(&serve, &["deploy", "examples/hello/greeter"]).expect(0);
    let answer = sandbox.run_at(&serve, &["call", "greeter.hello", "{name: 'Ada'}", "--format", "json"]);
    refused(answer, 1, &["not_found", "`clock` has no verb `now`, which `greeter.hello` calls"]);
    let _ = sandbox.run_at(&serve, &["call", "clock.tick"]).expect(0);
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}

#[test]
fn projects_that_cannot_be_built() {
    let sandbox = Sandbox::new().with_shared_target();
    let build = |folder: &str| {
        let folder = sandbox.path(folder);
        sandbox.run(&["build", folder.to_str().unwrap()])
    };
    workspace(&sandbox.path("twice"), &[("my-shop", "fn main() {}"), ("my_shop", "fn main() {}")]);
    refused(build("twice"), 1, &["`my-shop` and `my_shop` are both the module `my_shop`", "rename one"]);
    refused(build("none"), 64, &["cannot be read"]);
    fs::create_dir(sandbox.path("empty")).unwrap();
    refused(build("empty"), 1, &["is not in a cargo workspace"]);
    let answer = sandbox.run(&["build", "docs"]);
    refused(answer, 1, &["there is no module at or below docs", "depends on `ftl-sdk`"]);
    workspace(&sandbox.path("wrong"), &[("wrong", "fn main() { let x: u8 = \"\"; }")]);
    refused(build("wrong"), 1, &["mismatched types", "the modules do not compile", "nothing was deployed"]);
    fs::write(sandbox.path("wrong/ftl.toml"), "[modules.wrong]\nreplica = 2\n").unwrap();
    let folder = sandbox.path("wrong");
    let answer = sandbox.run(&["dev", folder.to_str().unwrap()]);
    refused(answer, 64, &["ftl.toml, line 2: unknown field `replica`", "did you mean `replicas`?"]);
    sandbox.finish();
}
