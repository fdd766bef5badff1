//! What is found before anything is touched: all problems of a request at once, each with a way out.

use dibw_plan::planner::plan;
use dibw_plan::{Catalogue, FaultKind, NamedText, Request};
use dibw_policy::Policy;
use dibw_tests::planning::{catalogue, classic, request, typed};

const DISK: &str = "\
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: root, size: 4GiB, type: '8300', mkfs: {name: mkfs_root, mount: {mount_point: /}}}
";

fn elements() -> Catalogue {
    catalogue([
        classic("os", &[("element-provides", "operating-system\n")]),
        classic("disk", &[("block-device-default.yaml", DISK)]),
        classic("disk2", &[("block-device-amd64.yaml", "- local_loop: {name: other}\n")]),
        classic("a", &[("install.d/10-same", ""), ("static/etc/x", ""), ("svc-map", "web: {default: a}\n")]),
        classic("b", &[("install.d/10-same", ""), ("static/etc/y", ""), ("svc-map", "web: {default: b}\n")]),
        classic("bad-packages", &[("package-installs.yaml", "vim:\n  phse: install.d\n")]),
        classic("bad-map", &[("pkg-map", "{")]),
        typed(
            r#"{"id": "motd", "version": "1", "api": "0.1", "config_schema":
                {"type": "object", "additionalProperties": false, "properties": {"text": {"type": "string"}}},
                "needs": [{"capability": "host.env", "value": "SITE_TOKEN"}]}"#,
        ),
    ])
}

fn told(request: &Request) -> Vec<String> {
    match plan(request, &elements(), &Policy::default(), &[]) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.0.iter().map(ToString::to_string).collect(),
    }
}

fn wanted(names: &[&str]) -> Request {
    Request { elements: names.iter().map(|name| (*name).to_owned()).collect(), ..request() }
}

#[test]
fn problems_of_the_request() {
    let types = |types: &[&str]| types.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>();
    let cases: [(Request, &[&str]); 8] = [
        (
            Request { types: types(&["qcow3"]), ..wanted(&["os"]) },
            &["unknown output type `qcow3`\n  hint: did you mean `qcow2`?"],
        ),
        (
            Request { types: types(&["luks"]), ..wanted(&["os"]) },
            &["output type `luks` is not made\n  hint: it needs a secret; encrypt the disk where it is used"],
        ),
        (
            Request { types: types(&["docker"]), ..wanted(&["os"]) },
            &["output type `docker` needs a name for its image\n  hint: --docker-target NAME[:TAG]"],
        ),
        (
            Request {
                types: types(&["docker"]),
                docker_target: Some("Server".to_owned()),
                push: Some("docker://registry.example.com:x/a".to_owned()),
                ..wanted(&["os"])
            },
            &[
                "--docker-target Server: `Server` must be lower case\n  hint: names look like server, team/server:1.2 or registry.example.com/server",
                "--push registry.example.com:x/a: `registry.example.com:x` is no registry\n  hint: names look like server, team/server:1.2 or registry.example.com/server",
            ],
        ),
        (
            Request { push: Some("server".to_owned()), ..wanted(&["os"]) },
            &[
                "--push sends a container image, and none is made\n  hint: add the output type docker: -t docker --docker-target NAME[:TAG]",
            ],
        ),
        (
            Request { types: types(&[]), ..wanted(&["os"]) },
            &["no output type is asked for\n  hint: for example -t qcow2"],
        ),
        (
            Request { arch: "amd46".to_owned(), ..wanted(&["os"]) },
            &["unknown architecture `amd46`\n  hint: did you mean `amd64`?"],
        ),
        (
            Request { types: types(&["qcow3"]), ..wanted(&["oss"]) },
            &[
                "unknown output type `qcow3`\n  hint: did you mean `qcow2`?",
                "Element 'oss' not found\n  hint: did you mean `os`?",
            ],
        ),
    ];
    for (request, expected) in cases {
        assert_eq!(told(&request), expected);
    }
}

/// Also when the disk is not to be made: its labels and mount points are variables of the hooks.
#[test]
fn problems_of_the_layout() {
    let text = "- local_loop:\n    name: x\n    sise: 3GiB\n".to_owned();
    let block_device = Some(NamedText { name: "my.yaml".to_owned(), text });
    let request = Request { block_device, types: vec!["tar".to_owned()], ..wanted(&["os"]) };
    assert_eq!(
        told(&request),
        ["my.yaml:3:5: unknown key `sise` in local_loop\n  hint: did you mean `size`?"]
    );
}

#[test]
fn problems_between_elements() {
    let cases: [(&[&str], &[&str]); 4] = [
        (
            &["os", "disk", "disk2"],
            &[
                "two elements say how the disk is made: `disk` and `disk2`\n  hint: keep one of `disk` and `disk2`, or give the layout with --block-device FILE",
            ],
        ),
        (
            &["os", "a", "b"],
            &[
                "There is a duplicated hook in your elements: /install.d/10-same (in `a` and in `b`)\n  hint: rename one of the two, or leave out `a` or `b`",
                "web already found in services list. Check b for duplicate service name (`a` has it too).",
            ],
        ),
        (
            &["os", "bad-packages", "bad-map"],
            &[
                "/elements/bad-map/pkg-map:1:1: not a package map: EOF while parsing an object",
                "/elements/bad-packages/package-installs.yaml:2:3: unknown key `phse`\n  hint: did you mean `phase`?",
            ],
        ),
        (&["disk"], &["Please include an operating system element\n  hint: add one of: os"]),
    ];
    for (names, expected) in cases {
        assert_eq!(told(&wanted(names)), expected, "{names:?}");
    }
}

#[test]
fn a_layout_larger_than_the_image() {
    let request = Request { image_size: Some(2 << 30), ..wanted(&["os", "disk"]) };
    let faults = plan(&request, &elements(), &Policy::default(), &[]).unwrap_err();
    assert_eq!(faults.0.len(), 1);
    assert!(faults.0[0].to_string().starts_with("/elements/disk/block-device-default.yaml:6:"), "{faults}");
    assert!(faults.0[0].message.starts_with("layout larger than the image"), "{faults}");
    assert_eq!(faults.exit_code(), 2);
}

#[test]
fn settings_and_policy() {
    let mut request = wanted(&["os", "motd"]);
    for (element, key) in [("motd", "txt"), ("mtd", "text"), ("os", "text")] {
        request.settings.entry(element.to_owned()).or_default().insert(key.to_owned(), "x".into());
    }
    let faults = plan(&request, &elements(), &Policy::default(), &[]).unwrap_err();
    let told: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        told[..3],
        [
            "settings for `mtd`, which is not an element of this image\n  hint: did you mean `motd`?",
            "`os` has no settings: it is a shell element\n  hint: shell elements are configured by variables (DIB_...)",
            "unknown setting motd.txt\n  hint: did you mean `text`?",
        ]
    );
    assert_eq!(faults.0[3].kind, FaultKind::Policy);
    assert!(told[3].starts_with("motd may not have host.env SITE_TOKEN: "), "{}", told[3]);
    assert_eq!(told.len(), 4);

    let granted = ["motd:host.env=SITE_TOKEN".parse().unwrap()];
    let allowed = plan(&wanted(&["os", "motd"]), &elements(), &Policy::default(), &granted);
    assert_eq!(allowed.map(|plan| plan.elements.len()), Ok(2));
    let unused = ["mtd:host.env=SITE_TOKEN".parse().unwrap()];
    let faults = plan(&wanted(&["os"]), &elements(), &Policy::default(), &unused).unwrap_err();
    assert_eq!(
        faults.0[0].message,
        "--grant mtd:host.env=SITE_TOKEN: `mtd` is not a typed element of this image"
    );
}

fn site(text: &str) -> Policy {
    Policy::of_site(vec![dibw_policy::file::parse("site.yaml", text, "2026-01-01").unwrap()]).unwrap()
}

#[test]
fn a_site_decides_alone_and_says_whom_it_trusts() {
    let policy = site(
        "api: dibw/policy/v1\ntrust: {elements: {any_of: [{kind: key, name: team, key: /k.pub}]}}\ngrants: []\n",
    );
    let granted = ["motd:host.env=SITE_TOKEN".parse().unwrap()];
    let faults = plan(&wanted(&["os", "motd"]), &elements(), &policy, &granted).unwrap_err();
    let told: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "motd may not take part: site.yaml asks for 1 of its keys to have signed motd@sha256:digest of mo.., and none did\n  hint: have it signed by `team`: dibw sign --key KEY motd.wasm",
            "motd may not have host.env SITE_TOKEN: site.yaml does not grant host.env SITE_TOKEN to `motd`\n  hint: in site.yaml: grants[0]: {element: {id: motd, digest: \"sha256:digest of motd\"}, allow: {host.env: [SITE_TOKEN]}}",
            "--grant motd:host.env=SITE_TOKEN: on this machine site.yaml alone decides what elements are granted\n  hint: in grants of site.yaml: - {element: {id: motd}, allow: {host.env: [SITE_TOKEN]}}",
        ]
    );
    assert_eq!(faults.exit_code(), 3);
    let open = site("api: dibw/policy/v1\ngrants: [{element: motd, allow: {host.env: [SITE_TOKEN]}}]\n");
    assert!(plan(&wanted(&["os", "motd"]), &elements(), &open, &[]).is_ok(), "a site grants any risk");
}

#[test]
fn shell_that_a_policy_denies() {
    let text = "api: dibw/policy/v1\nname: site\nclassic:\n  default: deny\n";
    let policy = site(text);
    let elements = catalogue([
        classic("os", &[("element-provides", "operating-system\n")]),
        classic("shell", &[("environment.d/10-x", ""), ("install.d/10-x", "")]),
    ]);
    let faults = plan(&wanted(&["os", "shell"]), &elements, &policy, &[]).unwrap_err();
    let told: Vec<&str> = faults.0.iter().map(|fault| fault.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "shell: the shell scripts of its environment.d may not run: classic.default of site.yaml:4",
            "shell: the shell scripts of its install.d may not run: classic.default of site.yaml:4",
        ]
    );
    assert_eq!(faults.exit_code(), 3);
}
