//! Whole plans: the order of steps, what confines them, the variables, the printed form and the digest.

use std::collections::BTreeMap;

use dibw_plan::digest::digest;
use dibw_plan::packages::resolve_transaction;
use dibw_plan::planner::plan;
use dibw_plan::render::{title, to_json, to_text};
use dibw_plan::tools::required_tools;
use dibw_plan::{Action, Catalogue, Extra, Phase, Plan, Request};
use dibw_policy::Policy;
use dibw_tests::planning::{catalogue, classic, request, typed};

const DISK: &str = "\
- local_loop:
    name: image0
- partitioning:
    base: image0
    label: gpt
    partitions:
      - name: ESP
        type: EF00
        size: 8MiB
        mkfs:
          type: vfat
          mount:
            mount_point: /boot/efi
      - name: root
        type: '8300'
        size: 100%
        mkfs:
          name: mkfs_root
          type: xfs
          mount:
            mount_point: /
";

fn elements() -> Catalogue {
    catalogue([
        classic(
            "os",
            &[
                ("element-provides", "operating-system\n"),
                ("environment.d/10-os.bash", ""),
                ("root.d/10-bootstrap", ""),
                ("host-tools", "mmdebstrap\n"),
                ("pkg-map", r#"{"family": {"debian": {"ssh": "openssh-server"}}}"#),
                ("package-installs.yaml", "ssh:\ngcc:\n  build-only: true\nnano:\n  uninstall: true\n"),
            ],
        ),
        classic("disk", &[("element-provides", "block-device\n"), ("block-device-default.yaml", DISK)]),
        classic(
            "web",
            &[
                ("element-deps", "os\n"),
                ("install.d/10-first", ""),
                ("install.d/30-last", ""),
                ("install.d/ignored.sh", ""),
                ("finalise.d/50-boot", ""),
                ("cleanup.d/99-tidy", ""),
                ("bin/tool", ""),
                ("static/etc/web.conf", ""),
                ("svc-map", "web:\n  default: httpd\n"),
            ],
        ),
        classic("no-final-image", &[]),
        typed(
            r#"{"id": "motd", "version": "1.0.0", "api": "0.1", "hooks": [{"phase": "install", "order": 20}],
                "config_schema": {"type": "object", "additionalProperties": false,
                                  "properties": {"text": {"type": "string", "default": "hello", "x-env": "DIB_MOTD"}}},
                "needs": [{"capability": "target.write", "value": "/etc/motd"},
                          {"capability": "packages.install", "value": "figlet"}]}"#,
        ),
    ])
}

fn wanted(names: &[&str]) -> Request {
    Request { elements: names.iter().map(|name| (*name).to_owned()).collect(), ..request() }
}

fn planned(request: &Request) -> Plan {
    plan(request, &elements(), &Policy::default(), &[]).expect("the request of the test can be planned")
}

/// `phase order title` of every step.
fn titles(plan: &Plan) -> Vec<String> {
    let phase = |step: &dibw_plan::Step| step.phase.map_or("-", Phase::name);
    plan.steps
        .iter()
        .map(|step| format!("{} {} {}", phase(step), step.order, title(step)).replace("  ", " "))
        .collect()
}

/// The titles of the steps that follow the phases, and the outputs of the plan.
fn written(request: &Request) -> (Vec<String>, usize) {
    let plan = planned(request);
    let titles = titles(&plan).into_iter().filter(|title| title.starts_with("- "));
    (titles.map(|title| title.trim_start_matches("- ").to_owned()).collect(), plan.types.len())
}

#[test]
fn a_ramdisk_has_no_disk_outputs_and_neither_has_an_image_that_says_so() {
    let archives = [
        "prepare-target",
        "report-usage",
        "create-disk",
        "clean-target",
        "package-manifest",
        "output-tar",
        "finish-disk",
    ];
    let mut request = wanted(&["os"]);
    request.types = ["vmdk", "tar", "qcow2"].map(String::from).to_vec();
    request.variables.insert("DIB_SHOW_IMAGE_USAGE".to_owned(), "1".to_owned());
    let mut all = archives.map(str::to_owned).to_vec();
    // vmdk may come before qcow2; that is compressed all the same.
    all.extend(["output-vmdk", "output-qcow2"].map(str::to_owned));
    assert_eq!(written(&request), (all, 3));
    let ramdisk = Request { ramdisk: true, ..request.clone() };
    // Without a disk format nothing needs a disk; diskimage-builder's commands always make one.
    assert_eq!(written(&ramdisk).0, archives);
    let none = Request { elements: vec!["os".to_owned(), "no-final-image".to_owned()], ..request.clone() };
    assert_eq!(written(&none), (archives.map(str::to_owned).to_vec(), 1));
    let tar = Request { types: vec!["tar".to_owned()], ..request };
    assert!(!written(&tar).0.contains(&"create-disk".to_owned()));
    let classic = Request { classic: true, ..tar };
    assert!(written(&classic).0.contains(&"create-disk".to_owned()));
}

#[test]
fn programs_for_outputs_are_known_early() {
    let needed = |types: &[&str], options: Option<&str>, gzip: &str| {
        let mut request = wanted(&["os"]);
        request.types = types.iter().map(|kind| (*kind).to_owned()).collect();
        request.qemu_img_options = options.map(str::to_owned);
        request.variables.insert("DIB_GZIP_BIN".to_owned(), gzip.to_owned());
        let tools = required_tools(&planned(&request)).into_iter();
        let tools = tools.filter(|tool| tool.reason.starts_with("output type"));
        tools.map(|tool| (tool.program, tool.reason)).collect::<Vec<_>>()
    };
    let one = |program: &str, reason: &str| vec![(program.to_owned(), reason.to_owned())];
    for (types, options, gzip, expected) in [
        (&["raw", "qcow2", "tar", "tgz", "oci"][..], None, "", Vec::new()),
        (&["qcow2"][..], Some("compat=1.1"), "", Vec::new()),
        (&["qcow2"][..], Some("compat=0.10"), "", one("qemu-img", "output type qcow2")),
        (&["vhd", "vmdk"][..], None, "", one("qemu-img", "output type vhd, output type vmdk")),
        (&["squashfs"][..], None, "", one("mksquashfs", "output type squashfs")),
        (&["tgz"][..], None, "gzip", Vec::new()),
        (&["tgz"][..], None, "pigz -p 4", one("pigz", "output type tgz")),
    ] {
        assert_eq!(needed(types, options, gzip), expected, "{types:?} {options:?} {gzip:?}");
    }
}

#[test]
fn steps_of_shell_wasm_and_runtime_are_interleaved() {
    let mut request = wanted(&["web", "disk", "motd"]);
    request.types = ["raw", "qcow2", "tgz", "tar"].map(String::from).to_vec();
    request.packages = vec!["vim".to_owned()];
    let plan = planned(&request);
    assert_eq!(
        titles(&plan),
        [
            "root environment",
            "root 10 10-bootstrap",
            "- prepare-target",
            "extra-data environment",
            "extra-data 10 service-map",
            "pre-install environment",
            "pre-install 01 install-bin",
            "install environment",
            "install 01 packages",
            "install 10 10-first",
            "install 10 install-static",
            "install 20 20-motd",
            "install 30 30-last",
            "install 99 packages",
            "install packages",
            "- create-disk",
            "finalise environment",
            "finalise 50 50-boot",
            "cleanup environment",
            "cleanup 99 99-tidy",
            "- clean-target",
            "- package-manifest",
            "- output-tar",
            "- output-tgz",
            "- finish-disk",
            "- output-qcow2",
            "- output-raw",
        ]
    );
    let names: Vec<&str> = plan.elements.iter().map(|element| element.name.as_str()).collect();
    assert_eq!(names, ["disk", "motd", "os", "web"]);
}

#[test]
fn without_a_disk_type_there_is_no_disk_but_its_facts_are_known() {
    let mut request = wanted(&["web", "disk"]);
    request.types = vec!["tar".to_owned()];
    let plan = planned(&request);
    assert_eq!(plan.disk, None);
    assert!(!titles(&plan).iter().any(|title| title.contains("-disk")));
    assert_eq!(plan.variables["DIB_ROOT_FSTYPE"], "xfs");
    let boot = plan.steps.iter().find(|step| title(step) == "50-boot").unwrap();
    assert!(!boot.extras.contains(&Extra::ImageDevices));
}

#[test]
fn variables_known_before_the_build() {
    let mut request = wanted(&["web", "disk"]);
    request.output = "out/web.qcow2".to_owned();
    request.variables = BTreeMap::from([("DIB_RELEASE".to_owned(), "bookworm".to_owned())]);
    let variables = planned(&request).variables;
    for (name, value) in [
        ("ARCH", "amd64"),
        ("DIB_RELEASE", "bookworm"),
        ("IMAGE_NAME", "out/web"),
        ("IMAGE_ELEMENT", "disk os web"),
        ("IMAGE_ELEMENT_YAML", "disk: /elements/disk\nos: /elements/os\nweb: /elements/web\n"),
        ("DIB_OFFLINE", ""),
        ("DIB_CHECKSUM", "sha256"),
        ("FS_TYPE", "ext4"),
        ("DIB_ROOT_LABEL", "img-rootfs"),
        ("DIB_ROOT_FSTYPE", "xfs"),
        ("DIB_BOOT_LABEL", ""),
        ("DIB_MOUNTPOINTS", "/boot/efi|/"),
        ("IMAGE_TYPE", "qcow2"),
        ("LC_ALL", "C"),
    ] {
        assert_eq!(variables[name], value, "{name}");
    }
}

#[test]
fn configuration_and_rights_of_components_are_in_the_plan() {
    let mut request = wanted(&["os", "motd"]);
    request.variables.insert("DIB_MOTD".to_owned(), "from the environment".to_owned());
    let plan = planned(&request);
    let component = plan.elements[0].component.clone().unwrap();
    assert_eq!(component.config, serde_json::json!({"text": "from the environment"}));
    let hook = plan.steps.iter().find(|step| step.action == Action::Hook).unwrap();
    assert_eq!(hook.capabilities, ["target.write /etc/motd", "packages.install figlet"]);
}

#[test]
fn build_only_packages_leave_at_the_end_of_their_phase() {
    let plan = planned(&wanted(&["os"]));
    let environment = BTreeMap::from([("DISTRO_NAME".to_owned(), "debian".to_owned())]);
    let transactions: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Packages { requests } => {
                Some(resolve_transaction(requests, &plan.package_maps(), &environment).unwrap())
            }
            _ => None,
        })
        .collect();
    let lists: Vec<_> =
        transactions.iter().map(|one| (one.install.join(" "), one.remove.join(" "))).collect();
    assert_eq!(
        lists,
        [("gcc openssh-server".to_owned(), String::new()), (String::new(), "gcc nano".to_owned())]
    );
}

#[test]
fn offline_takes_the_network_away() {
    let mut request = wanted(&["web", "disk"]);
    request.offline = true;
    assert!(planned(&request).steps.iter().all(|step| !step.extras.contains(&Extra::Network)));
}

#[test]
fn tools_are_known_with_their_packages() {
    let tools: Vec<_> = required_tools(&planned(&wanted(&["web", "disk"])))
        .into_iter()
        .map(|tool| (tool.program, tool.package.unwrap_or_default(), tool.reason))
        .collect();
    let tool =
        |program: &str, package: &'static str, reason: &str| (program.to_owned(), package, reason.to_owned());
    assert_eq!(
        tools,
        [
            tool("bash", "bash", "shell hooks on the host"),
            tool("mcopy", "mtools", "a vfat file system"),
            tool("mkfs.vfat", "dosfstools", "a vfat file system"),
            tool("mkfs.xfs", "xfsprogs", "a xfs file system"),
            tool("mmdebstrap", "mmdebstrap", "element `os`"),
        ]
    );
}

#[test]
fn the_same_request_gives_the_same_digest_and_json_comes_back() {
    let plan = planned(&wanted(&["web", "disk", "motd"]));
    assert_eq!(digest(&plan), digest(&planned(&wanted(&["web", "disk", "motd"]))));
    let mut other = wanted(&["web", "disk", "motd"]);
    other.packages.push("vim".to_owned());
    assert_ne!(digest(&plan), digest(&planned(&other)));
    let again: Plan = serde_json::from_str(&to_json(&plan)).unwrap();
    assert_eq!(again, plan);
}

#[test]
fn the_printed_plan() {
    let plan = planned(&wanted(&["web", "disk", "motd"]));
    let text = to_text(&plan).replace(&digest(&plan), "<digest>");
    assert_eq!(text, include_str!("golden/plan.txt"));
}

/// The bound is for a debug build on a busy machine; a release build takes a few milliseconds.
#[test]
fn five_hundred_elements_are_planned_at_once() {
    let names: Vec<String> = (0..500).map(|number| format!("e{number:03}")).collect();
    let element = |(number, name): (usize, &String)| {
        let depends = if number == 0 { "os\n".to_owned() } else { format!("e{:03}\nos\n", number / 2) };
        let hook = format!("install.d/{:02}-{name}", number % 100);
        let contents =
            [("element-deps", depends.as_str()), (hook.as_str(), ""), ("package-installs.yaml", "vim:\n")];
        classic(name, &contents)
    };
    let mut all = elements();
    all.elements.extend(names.iter().enumerate().map(element).map(|element| (element.name.clone(), element)));
    let mut request = request();
    request.elements = names;
    let start = std::time::Instant::now();
    let plan = plan(&request, &all, &Policy::default(), &[]).unwrap();
    let took = start.elapsed();
    assert_eq!(plan.elements.len(), 501);
    assert!(took.as_millis() < 2000, "{took:?}");
}
