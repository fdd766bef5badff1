//! What components contribute to the disk's layout, and the formats that images may leave in: decided by the policy before anything is made.

use dibw_plan::planner::plan;
use dibw_plan::{Catalogue, Element, FaultKind, Faults, NamedText, Plan, Request};
use dibw_policy::Policy;
use dibw_tests::planning::{catalogue, classic, request, typed};

const DISK: &str = "\
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: root, size: 100%, type: '8300', mkfs: {name: mkfs_root, mount: {mount_point: /}}}
";

/// A component with that layout and needs of `blockdev.contribute`.
fn contributor(name: &str, layout: &str, kinds: &[&str]) -> Element {
    let needs =
        kinds.iter().map(|kind| serde_json::json!({"capability": "blockdev.contribute", "value": kind}));
    let needs: Vec<serde_json::Value> = needs.collect();
    let manifest =
        serde_json::json!({"id": name, "version": "1", "api": "0.1", "needs": needs, "layout": layout});
    typed(&manifest.to_string())
}

fn planned(elements: Vec<Element>, change: impl FnOnce(&mut Request), policy: &str) -> Result<Plan, Faults> {
    let os = classic("os", &[("element-provides", "operating-system\n")]);
    let names = elements.iter().map(|element| element.name.clone()).chain(["os".to_owned()]).collect();
    let catalogue: Catalogue = catalogue(elements.into_iter().chain([os]));
    let mut request = Request { elements: names, ..request() };
    change(&mut request);
    let policy = match policy {
        "" => Policy::default(),
        text => {
            let file = dibw_policy::file::parse("site.yaml", text, "2026-01-01")
                .expect("the policy of the test is one");
            Policy::of_site(vec![file]).expect("one file agrees with itself")
        }
    };
    plan(&request, &catalogue, &policy, &[])
}

fn told(outcome: Result<Plan, Faults>) -> Vec<String> {
    outcome.err().map(|faults| faults.0.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

const ALL: [&str; 4] = ["local_loop", "partitioning", "mkfs", "mount"];

#[test]
fn a_layout_of_a_component_makes_the_disk() {
    let plan = planned(vec![contributor("disk", DISK, &ALL)], |_| {}, "").expect("it is planned");
    let disk = plan.disk.expect("there is a disk");
    assert_eq!((disk.source.as_str(), disk.text.as_str()), ("/elements/disk.wasm (layout)", DISK));
    assert_eq!(disk.layout.images[0].name, "image0");
}

#[test]
fn each_kind_of_node_is_a_need() {
    for (at, kind) in ALL.iter().enumerate() {
        let mut kinds = ALL.to_vec();
        kinds.remove(at);
        let faults = planned(vec![contributor("disk", DISK, &kinds)], |_| {}, "").expect_err(kind);
        assert_eq!(faults.0.len(), 1, "{faults}");
        assert_eq!(faults.0[0].kind, FaultKind::Policy);
        assert!(
            faults.0[0].to_string().contains(&format!("blockdev.contribute `{kind}` refused")),
            "{faults}"
        );
        assert!(faults.0[0].to_string().contains(&format!("layout \"{kind}\";")), "{faults}");
    }
}

#[test]
fn it_counts_as_a_file_of_its_element_would() {
    let other = "- local_loop: {name: other}\n";
    // The user's own beats it, whatever it may contribute.
    let given = NamedText { name: "mine.yaml".to_owned(), text: DISK.to_owned() };
    let plan =
        planned(vec![contributor("disk", other, &[])], |request| request.block_device = Some(given), "");
    assert_eq!(plan.expect("it is planned").disk.expect("there is a disk").source, "mine.yaml");
    // Two that differ are a fault, two that agree are not.
    let file = |text| classic("file", &[("block-device-default.yaml", text)]);
    assert_eq!(
        told(planned(vec![contributor("disk", DISK, &ALL), file(DISK)], |_| {}, "")),
        Vec::<String>::new()
    );
    let said = told(planned(vec![contributor("disk", DISK, &ALL), file(other)], |_| {}, ""));
    assert!(said[0].starts_with("two elements say how the disk is made: "), "{said:?}");
    // A mistake names the component.
    let said = told(planned(vec![contributor("disk", "- partitoning: {}\n", &ALL)], |_| {}, ""));
    assert!(said[0].starts_with("/elements/disk.wasm (layout):1:"), "{said:?}");
}

#[test]
fn a_ceiling_bounds_the_formats_of_images() {
    let policy = |ceiling: &str| {
        format!("api: dibw/policy/v1\nname: site\nceiling:\n  target.read: [\"/**\"]\n{ceiling}")
    };
    let with = |types: &[&str], ceiling: &str| {
        let types = types.iter().map(|kind| (*kind).to_owned()).collect();
        planned(Vec::new(), |request| request.types = types, &policy(ceiling))
    };
    assert_eq!(told(with(&["qcow2", "raw"], "  image.emit: [\"qcow2\", \"raw\"]\n")), Vec::<String>::new());
    // One that does not speak of formats leaves them all.
    assert_eq!(told(with(&["qcow2", "tar"], "")), Vec::<String>::new());
    let faults =
        with(&["qcow2", "tar"], "  image.emit: [\"qcow2\"]\n").expect_err("tar is above the ceiling");
    assert_eq!(faults.0.len(), 1, "{faults}");
    assert_eq!((faults.0[0].kind, faults.0[0].kind.exit_code()), (FaultKind::Policy, 3));
    let said = faults.to_string();
    assert!(
        said.contains(
            "output type `tar`: image.emit `tar` refused: image.emit tar is above the ceiling of site.yaml"
        ),
        "{said}"
    );
    assert!(said.contains("image.emit: ["), "{said}");
}
