//! `dibw plan`: text and JSON are golden files; the same arguments give the same digest, and what matters changes it.

use dibw_tests::dibw::{Dibw, fixtures};
use dibw_tests::golden::golden;

/// Only the elements of the tests, so that the plans do not change with those that are shipped.
fn dibw() -> Dibw {
    Dibw::new().env("DIBW_ELEMENTS", fixtures()).args(["plan", "-a", "amd64", "-o", "image"])
}

/// The line `plan DIGEST`.
fn digest(dibw: Dibw) -> String {
    let text = dibw.succeed().stdout;
    text.lines().next().expect("a plan has lines").trim_start_matches("plan").trim().to_owned()
}

/// The digest depends on where the workspace is: elements have paths.
fn without_digest(text: &str) -> String {
    text.lines()
        .map(
            |line| {
                if line.starts_with("plan ") {
                    "plan      [DIGEST]\n".to_owned()
                } else {
                    format!("{line}\n")
                }
            },
        )
        .collect()
}

#[test]
fn text_and_json() {
    let ran = dibw().args(["-t", "raw,tar", "fake-os", "plan-fixture"]).succeed();
    assert_eq!(ran.stderr, "");
    golden("cli/golden/plan.txt", &without_digest(&ran.stdout));
    let ran = dibw().args(["-t", "raw,tar", "--format", "json", "fake-os", "plan-fixture"]).succeed();
    golden("cli/golden/plan.json", &ran.stdout);
}

#[test]
fn the_digest_is_that_of_the_plan() {
    let first = digest(dibw().args(["fake-os", "plan-fixture"]));
    assert_eq!(first.len(), 64);
    // order of elements, place of work and cache directories, and time change nothing
    assert_eq!(digest(dibw().args(["plan-fixture", "fake-os"])), first);
    assert_eq!(digest(dibw().args(["fake-os", "plan-fixture"]).env("UNSEEN", "1")), first);
    let others = [
        digest(dibw().args(["fake-os"])),
        digest(dibw().args(["fake-os", "plan-fixture", "-t", "raw"])),
        digest(dibw().args(["fake-os", "plan-fixture", "-p", "vim"])),
        digest(dibw().args(["fake-os", "plan-fixture"]).env("DIB_SOMETHING", "1")),
        digest(dibw().args(["fake-os", "plan-fixture", "--image-size", "3GiB"])),
    ];
    for other in &others {
        assert_ne!(*other, first);
    }
}

#[test]
fn a_changed_hook_changes_the_digest() {
    let dibw = dibw();
    let elements = dibw.dir().join("e");
    let hook = "e/changing/install.d/10-hook";
    dibw.file(hook, "#!/bin/bash\necho one\n");
    let dibw = dibw.elements(elements).args(["fake-os", "changing"]);
    let first = dibw.succeed().stdout;
    assert_eq!(dibw.succeed().stdout, first);
    dibw.file(hook, "#!/bin/bash\necho two\n");
    assert_ne!(dibw.succeed().stdout, first);
}

#[test]
fn an_image_file_gives_several_plans() {
    let dibw = Dibw::new().env("DIBW_ELEMENTS", fixtures());
    let text = "\
- imagename: one
  elements: [fake-os]
  types: [tar]
- imagename: two
  elements: [fake-os, plan-fixture]
  types: [raw, tgz]
  skip-base: true
";
    dibw.file("images.yaml", text);
    let ran = dibw.args(["plan", "-a", "amd64", "--config", "images.yaml"]).succeed();
    let outputs: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("output ")).collect();
    assert_eq!(outputs, ["output    one.tar", "output    two.raw two.tgz"]);
}
