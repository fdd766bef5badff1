//! Image definitions of the command `diskimage-builder` against compat/CONTRACT.md 3.2 and 8.1.

use dibw_compat::image_yaml::{ImageCommand, commands};
use dibw_plan::{Faults, NamedText};

fn read(texts: &[&str]) -> Result<Vec<ImageCommand>, Faults> {
    let name = |index: usize| format!("{}.yaml", index + 1);
    let sources: Vec<NamedText> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| NamedText { name: name(index), text: (*text).to_owned() })
        .collect();
    commands(&sources)
}

fn lines(texts: &[&str]) -> Vec<String> {
    let commands = read(texts).expect("the files of the test are well-formed");
    commands.iter().map(|command| command.line("/lib")).collect()
}

#[test]
fn every_key_becomes_its_argument_in_one_order() {
    let text = "\
- elements: [fake2, 'a b']
  skip-base: true
  packages: [x, 'y z']
  docker-target: d
  install-type: source
  ramdisk-element: r
  root-label: l
  qemu-img-options: {compat: '0.10', size: '1'}
  offline: true
  no-tmpfs: yes
  mkfs-options: -D it's
  mkfs-journal-size: 32
  min-tmpfs: 7
  max-online-resize: 1000
  image-cache: /tmp/x
  image-extra-size: 2.0
  image-size: 0x10
  checksum: true
  logfile: a b.log
  clear: true
  uncompressed: true
  debug-trace: 2
  types: [qcow2, raw]
  arch: amd64
  imagename: a
  environment: {FOO: b ar, B: '', C: $x}
";
    let expected = "FOO='b ar' B='' C='$x' bash /lib/disk-image-create -o a -a amd64 -t qcow2,raw -x -x -u -c \
        --logfile 'a b.log' --checksum --image-size 16 --image-extra-size 2.0 --image-cache /tmp/x \
        --max-online-resize 1000 --min-tmpfs 7 --mkfs-journal-size 32 --mkfs-options '-D it'\"'\"'s' --no-tmpfs \
        --offline --qemu-img-options compat=0.10,size=1 --root-label l --ramdisk-element r \
        --install-type source --docker-target d -p 'x,y z' -n fake2 'a b'";
    assert_eq!(lines(&[text]), [expected]);
}

#[test]
fn what_is_empty_or_false_is_left_out() {
    let text = "- {logfile: '', packages: [], types: [], elements: [], image-cache: '', qemu-img-options: {},\
                   checksum: false, ramdisk: off, debug-trace: 0, environment: {}}\n";
    assert_eq!(lines(&[text]), ["bash /lib/disk-image-create"]);
    assert_eq!(lines(&["[]\n"]), Vec::<String>::new());
}

#[test]
fn entries_of_one_name_are_one_image() {
    for (texts, expected) in [
        (
            vec!["- imagename: b\n  ramdisk: true\n  elements: [z]\n"],
            vec!["bash /lib/ramdisk-image-create -o b z"],
        ),
        (
            vec!["- imagename: a\n  elements: [x]\n", "- elements: [y]\n"],
            vec!["bash /lib/disk-image-create -o a x y"],
        ),
        // An unnamed first entry has the default name but no option for it; somebody else may name it.
        (vec!["- elements: [x]\n"], vec!["bash /lib/disk-image-create x"]),
        (
            vec![
                "- {arch: amd64, elements: [x]}\n- {imagename: b, elements: [z]}\n- elements: [y]\n- {imagename: image, elements: [w]}\n",
            ],
            vec!["bash /lib/disk-image-create -o image -a amd64 x w", "bash /lib/disk-image-create -o b z y"],
        ),
        // Lists grow, mappings are updated in place, other values are replaced.
        (
            vec![
                "- {imagename: a, environment: {A: '1', B: '2'}, qemu-img-options: {a: '1'}, types: [raw], ramdisk: true}\n- imagename: c\n",
                "- {imagename: a, environment: {A: '3', C: '2'}, qemu-img-options: {b: '1', a: '4'}, types: [raw, tar], ramdisk: false}\n",
            ],
            vec![
                "A=3 B=2 C=2 bash /lib/disk-image-create -o a -t raw,raw,tar --qemu-img-options a=4,b=1",
                "bash /lib/disk-image-create -o c",
            ],
        ),
    ] {
        assert_eq!(lines(&texts), expected, "{texts:?}");
    }
}

#[test]
fn everything_wrong_is_told_with_its_place() {
    let told = |texts: &[&str]| -> Vec<String> {
        let faults = read(texts).expect_err("the files of the test are wrong");
        faults.0.iter().map(|fault| fault.to_string().lines().next().unwrap_or_default().to_owned()).collect()
    };
    for (text, expected) in [
        ("", "1.yaml:1:1: a list of image definitions is expected here, not nothing"),
        ("a: b\n", "1.yaml:1:1: a list of image definitions is expected here, not a mapping"),
        ("- foo\n", "1.yaml:1:3: a mapping is expected here, not a string"),
        ("- imagname: x\n", "1.yaml:1:3: unknown key `imagname`"),
        ("- imagename: 5\n", "1.yaml:1:14: `imagename`: a string is expected here, not `5`"),
        ("- imagename:\n", "`imagename`: a string is expected here, not nothing"),
        (
            "- image-size: 2.5\n",
            "1.yaml:1:15: `image-size`: a whole number from 1 is expected here, not `2.5`",
        ),
        ("- image-size: '2'\n", "1.yaml:1:15: `image-size`: a whole number from 1 is expected here, not `2`"),
        ("- image-size: 0\n", "1.yaml:1:15: `image-size`: a whole number from 1 is expected here, not `0`"),
        (
            "- image-size: true\n",
            "1.yaml:1:15: `image-size`: a whole number from 1 is expected here, not `true`",
        ),
        ("- checksum: 1\n", "1.yaml:1:13: `checksum`: true or false is expected here, not `1`"),
        ("- debug-trace: 3\n", "1.yaml:1:16: `debug-trace`: 0, 1 or 2 is expected here, not `3`"),
        ("- environment: {A: 1}\n", "1.yaml:1:20: `A`: a string is expected here, not `1`"),
        ("- elements: a\n", "1.yaml:1:13: `elements`: a list of strings is expected here, not `a`"),
        ("- elements: [1]\n", "1.yaml:1:14: `elements`: a string is expected here, not `1`"),
        (
            "- types: [vmdk]\n",
            "1.yaml:1:11: `types`: `vmdk` is not one of qcow2, tar, tgz, squashfs, vhd, docker, aci, raw",
        ),
        ("- install-type: src\n", "1.yaml:1:17: `install-type`: `src` is not one of source, package"),
    ] {
        let told = told(&[text]);
        assert!(told.len() == 1 && told[0].ends_with(expected), "{text}: {told:?}");
    }
    let both = told(&["- foo: 1\n  arch: vax\n", "- bar: 2\n"]);
    assert_eq!(both.len(), 3, "{both:?}");
    assert!(both[2].starts_with("2.yaml:1:3: "), "{both:?}");
}
