//! The Python that scripts of classic elements run under, and the scripts at `$_LIB` that hand over to the program that builds.

use std::fs;

use anyhow::Result;
use dibw_tests::library::{LibraryBash, diskimage_builder_source, said, write};

#[test]
fn names_of_programs_lead_to_the_program_that_builds() -> Result<()> {
    let bash = LibraryBash::new()?;
    let program = bash.dir.path().join("program");
    write(&program, "#!/bin/bash\nread -r -d '' name </proc/$$/cmdline || true\necho \"$@\"\n", 0o755)?;
    for command in [
        "$_LIB/disk-image-create",
        "$_LIB/ramdisk-image-create",
        "python3 $_LIB/element-info.py",
        "python3 $_LIB/dib-block-device.py",
    ] {
        let said = bash.says(&format!("DIBW_PROGRAM=$PWD/program {command} -a 'b c'"))?;
        assert_eq!(said, "-a b c\n", "{command}");
        let failed = bash.command(command).output()?;
        assert!(!failed.status.success());
        assert!(String::from_utf8_lossy(&failed.stderr).contains("set DIBW_PROGRAM"), "{command}");
    }
    Ok(())
}

/// An element's package list with every kind of condition, and another that crosses it.
const PACKAGES: [(&str, &str); 2] = [
    (
        "a",
        "plain:\nlate: {phase: post-install.d}\ngone: {uninstall: true}\nx86: {arch: amd64}\narm: {arch: arm64}\n\
         notarm: {not-arch: arm64}\nlist: [{phase: pre-install.d}, {when: 'MODE = fast'}]\n\
         never: {when: ['MODE = fast', 'OTHER != x']}\nboth:\nsource: {installtype: source}\npackage: {installtype: package}\n",
    ),
    ("b", "gone:\nboth: {uninstall: true}\npy2: {dib_python_version: 2}\npy3: {dib_python_version: 3}\n"),
];

/// diskimage-builder's own script, unmodified, under the Python that `DIB_PYTHON_EXEC` names.
#[test]
fn package_lists_are_merged_by_the_elements_own_script() -> Result<()> {
    let test = "package_lists_are_merged_by_the_elements_own_script";
    let Some(source) = diskimage_builder_source(test)? else { return Ok(()) };
    let bash = LibraryBash::new()?;
    for (element, text) in PACKAGES {
        write(&bash.dir.path().join("elements").join(element).join("package-installs.yaml"), text, 0o644)?;
    }
    let script = source.join("diskimage_builder/elements/package-installs/bin/package-installs-squash");
    let merged = |elements: &str| -> Result<serde_json::Value> {
        let mut command = bash.command(&format!(
            "$_LIB/bin/dib-python-exec {} --elements='{elements}' --path=$PWD/elements out.json",
            script.display()
        ));
        command.envs([("ARCH", "amd64"), ("MODE", "fast"), ("OTHER", "x"), ("DIB_PYTHON_VERSION", "3")]);
        said(command.env("DIB_DEFAULT_INSTALLTYPE", "source").output()?)?;
        Ok(serde_json::from_str(&fs::read_to_string(bash.dir.path().join("out.json"))?)?)
    };
    let installed = serde_json::json!({
        "install.d": {"install": [
            ["plain", "a"], ["x86", "a"], ["notarm", "a"], ["list", "a"], ["both", "a"], ["source", "a"],
            ["gone", "b"], ["py3", "b"],
        ]},
        "pre-install.d": {"install": [["list", "a"]]},
        "post-install.d": {"install": [["late", "a"]]},
    });
    assert_eq!(without_empty_lists(merged("a b")?), installed);
    let only_a = without_empty_lists(merged("a")?);
    assert_eq!(only_a["install.d"]["uninstall"], serde_json::json!([["gone", "a"]]));
    Ok(())
}

fn without_empty_lists(mut phases: serde_json::Value) -> serde_json::Value {
    if let Some(phases) = phases.as_object_mut() {
        for lists in phases.values_mut().filter_map(serde_json::Value::as_object_mut) {
            lists.retain(|_, list| list.as_array().is_none_or(|list| !list.is_empty()));
        }
        phases.retain(|_, lists| lists.as_object().is_none_or(|lists| !lists.is_empty()));
    }
    phases
}

#[test]
fn python_finds_the_package_also_when_its_variables_were_stripped() -> Result<()> {
    let bash = LibraryBash::new()?;
    let script = "import sys, diskimage_builder.logging_config as log, diskimage_builder.paths as paths\n\
        log.setup(); paths.show_path('lib'); print(); paths.show_path('elements'); print(sys.argv[1:], flush=True)\n\
        __import__('logging').getLogger('hook').info('said')\n";
    fs::write(bash.dir.path().join("hook.py"), script)?;
    let run = "mkdir own; export ELEMENTS_PATH=/nowhere:$PWD/own; \
        env -u PYTHONPATH $_LIB/bin/dib-python-exec hook.py a 'b c' 2>&1";
    let dir = bash.dir.path().canonicalize()?;
    assert_eq!(bash.says(run)?, format!("{0}/lib\n{0}/own['a', 'b c']\nINFO hook [-] said\n", dir.display()));
    let python = bash.dir.path().join("bin/python3");
    write(&python, "#!/bin/sh\nexit 1\n", 0o755)?;
    // Both the first python3 on PATH and the machine's own are tried, so only a machine without yaml can fail here.
    assert_eq!(bash.says("PATH=$PWD/bin:$PATH $_LIB/bin/dib-python-exec -c 'print(1)'; echo print\\(2\\) | $_LIB/bin/dib-python-exec -")?, "1\n2\n");
    Ok(())
}

#[test]
fn resolving_is_asked_of_element_info() -> Result<()> {
    let bash = LibraryBash::new()?;
    let elements = bash.dir.path().join("elements");
    write(&elements.join("base/element-deps"), "more\n", 0o644)?;
    fs::create_dir(elements.join("more"))?;
    let program = "#!/bin/bash\nif [ \"$1\" = bad ]; then echo \"error: Element 'bad' not found\" >&2; exit 1; fi\necho \"$1 more\"\n";
    write(&bash.dir.path().join("program"), program, 0o755)?;
    let script = "import os\nfrom diskimage_builder import element_dependencies as e\n\
        print([(name, os.path.relpath(path)) for name, path in e.get_elements(['base'])])\n\
        print(e.expand_dependencies(['base'], os.environ['ELEMENTS_PATH']))\n\
        try:\n    e.get_elements(['bad'])\nexcept e.MissingElementException as x: print(x)\n\
        try:\n    e.find_all_elements('/no/dir')\nexcept e.InvalidElementDir as x: print(x)\n";
    fs::write(bash.dir.path().join("ask.py"), script)?;
    assert_eq!(
        bash.says("DIBW_PROGRAM=$PWD/program ELEMENTS_PATH=$PWD/elements $_LIB/bin/dib-python-exec ask.py")?,
        "[('base', 'elements/base'), ('more', 'elements/more')]\n['base', 'more']\nElement 'bad' not found\n\
         ELEMENTS_PATH entry '/no/dir' is not a directory \n"
    );
    Ok(())
}
