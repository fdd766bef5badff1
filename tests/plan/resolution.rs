//! Element lists: assembly and expansion against the rules of compat/CONTRACT.md 2.3 and 2.5, and their one order.

use dibw_plan::resolve::{assemble, expand};
use dibw_plan::{Catalogue, Element, Faults, Request};

/// `name: depends; provides`, words separated by blanks.
fn catalogue(elements: &[(&str, &str, &str)]) -> Catalogue {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    let element = |(name, depends, provides): &(&str, &str, &str)| Element {
        name: (*name).to_owned(),
        depends: words(depends),
        provides: words(provides),
        ..Element::default()
    };
    Catalogue {
        elements: elements.iter().map(|one| (one.0.to_owned(), element(one))).collect(),
        ..Catalogue::default()
    }
}

fn known() -> Catalogue {
    catalogue(&[
        ("base", "", ""),
        ("os", "", "operating-system"),
        ("os2", "", "operating-system"),
        ("requires-foo", "foo", ""),
        ("foo", "", ""),
        ("self", "self", ""),
        ("circular1", "circular2", "operating-system"),
        ("circular2", "circular1", ""),
        ("provides_virtual", "", "virtual operating-system"),
        ("also_provides_virtual", "", "virtual"),
        ("provides_only_virtual", "", "virtual"),
        ("requires_virtual", "virtual", "operating-system"),
        ("requires_virtual_and_provider", "virtual provides_only_virtual", ""),
        ("virtual", "extra_dependency", ""),
        ("extra_dependency", "", ""),
        ("provides_new_virtual", "", "new_virtual operating-system"),
        ("requires_new_virtual", "new_virtual", ""),
        ("zz", "", ""),
        ("needs-zz", "zz", ""),
        ("uses-native", "package-installs pkg-map", ""),
    ])
}

fn expanded(names: &[&str]) -> Result<Vec<String>, Faults> {
    expand(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), &known())
}

#[test]
fn elements_come_with_what_they_need_in_dependency_order() {
    for (names, expected) in [
        (vec!["requires-foo", "os"], vec!["foo", "os", "requires-foo"]),
        (vec!["self", "os"], vec!["os", "self"]),
        (vec!["circular1"], vec!["circular1", "circular2"]),
        (vec!["os", "zz", "needs-zz", "foo"], vec!["foo", "os", "zz", "needs-zz"]),
        (vec!["needs-zz", "os"], vec!["os", "zz", "needs-zz"]),
        // A virtual name that is also an element: whoever provides it first stands for it.
        (vec!["provides_virtual"], vec!["provides_virtual"]),
        (vec!["requires_virtual"], vec!["extra_dependency", "virtual", "requires_virtual"]),
        (
            vec!["provides_new_virtual", "requires_new_virtual"],
            vec!["provides_new_virtual", "requires_new_virtual"],
        ),
        (
            vec!["requires_new_virtual", "provides_new_virtual"],
            vec!["provides_new_virtual", "requires_new_virtual"],
        ),
        (vec!["os", "uses-native"], vec!["os", "uses-native"]),
    ] {
        assert_eq!(expanded(&names).unwrap(), expected, "{names:?}");
    }
}

#[test]
fn the_order_of_the_names_does_not_change_the_result() {
    let forwards = expanded(&["os", "zz", "requires-foo", "needs-zz"]).unwrap();
    let backwards = expanded(&["needs-zz", "requires-foo", "zz", "os"]).unwrap();
    assert_eq!(forwards, backwards);
}

#[test]
fn what_can_be_wrong_is_all_told_at_once() {
    for (names, expected) in [
        (vec!["fake", "os"], vec!["Element 'fake' not found"]),
        (vec!["fake"], vec!["Element 'fake' not found"]),
        (vec!["requires-fo", "fooo"], vec!["Element 'requires-fo' not found", "Element 'fooo' not found"]),
        (vec!["foo"], vec!["Please include an operating system element"]),
        (vec!["os", "os2"], vec!["operating-system: already provided by ['os']"]),
        (vec!["os", "os"], vec!["operating-system: already provided by ['os']"]),
        (
            vec!["provides_virtual", "also_provides_virtual"],
            vec!["virtual: already provided by ['provides_virtual']"],
        ),
        (
            vec!["virtual", "provides_virtual"],
            vec![
                "The following elements are already provided by another element: virtual : already provided by ['provides_virtual']",
            ],
        ),
        (
            vec!["requires_new_virtual", "os"],
            vec!["Element 'new_virtual' not found (needed by `requires_new_virtual`)"],
        ),
        (
            vec!["os", "os2", "fake"],
            vec!["operating-system: already provided by ['os']", "Element 'fake' not found"],
        ),
    ] {
        let told: Vec<String> =
            expanded(&names).unwrap_err().0.into_iter().map(|fault| fault.message).collect();
        assert_eq!(told, expected, "{names:?}");
    }
}

#[test]
fn the_nearest_name_and_known_systems_are_suggested() {
    let hint = |names: &[&str]| expanded(names).unwrap_err().0[0].hint.clone().unwrap_or_default();
    assert_eq!(hint(&["requires-fo"]), "did you mean `requires-foo`?");
    assert_eq!(
        hint(&["foo"]),
        "add one of: circular1, os, os2, provides_new_virtual, provides_virtual, requires_virtual"
    );
    assert_eq!(hint(&["os", "os"]), "`os` is listed twice; name it once");
}

fn request(elements: &[&str], arch: &str, skip_base: bool) -> Request {
    Request {
        elements: elements.iter().map(|name| (*name).to_owned()).collect(),
        arch: arch.to_owned(),
        skip_base,
        ..dibw_tests::planning::request()
    }
}

#[test]
fn vm_brings_a_disk_and_base_comes_first() {
    for (elements, arch, skip_base, expected) in [
        (vec!["os", "vm"], "amd64", false, vec!["base", "os", "vm", "block-device-mbr"]),
        (vec!["os", "vm"], "arm64", true, vec!["os", "vm", "block-device-efi"]),
        (vec!["os", "vm"], "aarch64", true, vec!["os", "vm", "block-device-efi"]),
        (vec!["os", "vm"], "arm", true, vec!["os", "vm", "block-device-mbr"]),
        (vec!["vm", "block-device-gpt"], "amd64", true, vec!["vm", "block-device-gpt"]),
        (vec!["os"], "amd64", false, vec!["base", "os"]),
    ] {
        assert_eq!(assemble(&request(&elements, arch, skip_base), &known()), expected);
    }
    let without_base = catalogue(&[("os", "", "operating-system")]);
    assert_eq!(assemble(&request(&["os"], "amd64", false), &without_base), ["os"]);
}
