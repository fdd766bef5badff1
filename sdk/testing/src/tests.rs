//! The mock against itself: what it refuses, what it records, what it says.

mod reach;

use std::panic::{AssertUnwindSafe, catch_unwind};

use dibw_sdk::prelude::*;

use crate::{Mock, Unit};

/// Does whatever its settings say.
#[derive(Config)]
struct Probe {
    write: Option<String>,
    link: Option<String>,
    package: Option<String>,
    unit: Option<String>,
    run: Vec<String>,
    edit: Option<String>,
    remove: Option<String>,
    user: Option<String>,
    variable: Option<String>,
}

#[hooks]
impl Element for Probe {
    fn install(&self, cx: &Cx) -> Result {
        if let Some(path) = &self.write {
            cx.write(path, "text\n")?;
        }
        if let Some(path) = &self.link {
            cx.symlink("/dev/null", path)?;
        }
        if let Some(package) = &self.package {
            cx.packages([package])?;
        }
        if let Some(unit) = &self.unit {
            cx.mask(unit)?;
        }
        if !self.run.is_empty() {
            let output = cx.run(&self.run)?;
            cx.info(output.text());
        }
        if let Some(path) = &self.edit {
            cx.edit(path, |text| text.replace("one", "two"))?;
        }
        if let Some(path) = &self.remove {
            cx.remove(path)?;
        }
        if let Some(name) = &self.user {
            cx.add_user(Account::new(name).group("sudo"))?;
        }
        if let Some(name) = &self.variable {
            cx.set_variable("DIB_COPY", cx.variable(name)?.unwrap_or_default())?;
        }
        Ok(())
    }
}

element!(
    Probe,
    needs! {
        write "/etc/probe/**", "/etc/cron.d/probe";
        read "/etc/probe/*";
        package "probe-*";
        mask "probe.service";
        exec "/usr/bin/probe **";
        user "probe";
        variable "DIB_PROBE";
        set_variable "DIB_COPY";
    }
);

fn denied(capability: &str, subject: &str, result: Result) {
    match result {
        Err(Error::Denied { capability: asked, subject: wanted, rule: _ }) => {
            assert_eq!((asked.as_str(), wanted.as_str()), (capability, subject));
        }
        other => panic!("expected {capability} {subject} to be denied, got {other:?}"),
    }
}

#[test]
fn strict_refuses_what_the_needs_do_not_cover() {
    let cases = [
        (r#"{"write": "/etc/passwd"}"#, "target.write", "/etc/passwd"),
        (r#"{"write": "/etc/probe/../motd"}"#, "", ""),
        (r#"{"write": "/etc/cron.d/probe"}"#, "target.write_privileged", "cron"),
        (r#"{"package": "nginx"}"#, "packages.install", "nginx"),
        (r#"{"unit": "ssh.service"}"#, "service.set", "mask ssh.service"),
        (r#"{"run": ["/bin/sh", "-c", "id"]}"#, "target.exec", "/bin/sh -c id"),
        (r#"{"user": "probe"}"#, "user.privileged", "sudo"),
        (r#"{"variable": "HOME"}"#, "host.env", "HOME"),
    ];
    for (config, capability, subject) in cases {
        let mock = Mock::strict(Probe::MANIFEST);
        let result = mock.run::<Probe>(Phase::Install, config);
        if capability.is_empty() {
            assert!(matches!(result, Err(Error::Invalid(_))), "{config}: {result:?}");
        } else {
            denied(capability, subject, result);
        }
    }
}

#[test]
fn lenient_refuses_only_what_makes_no_sense() {
    let mock = Mock::lenient(Probe::MANIFEST);
    mock.run::<Probe>(Phase::Install, r#"{"write": "/etc/passwd", "package": "nginx"}"#).unwrap();
    assert_eq!(mock.packages(), ["nginx"]);
    assert!(matches!(mock.run::<Probe>(Phase::Install, r#"{"write": "etc"}"#), Err(Error::Invalid(_))));
}

#[test]
fn the_snapshot_tells_all() {
    let mock = Mock::strict(Probe::MANIFEST)
        .with_file("/etc/probe/old", "one\n")
        .with_file("/etc/probe/gone", "")
        .variable("DIB_PROBE", "v")
        .on_exec("/usr/bin/probe*", "probed\n");
    let config = r#"{"write": "/etc/probe/a/b", "link": "/etc/probe/l", "package": "probe-x", "unit": "probe.service",
        "run": ["/usr/bin/probe", "-v"], "edit": "/etc/probe/old", "remove": "/etc/probe/gone", "variable": "DIB_PROBE"}"#;
    mock.run::<Probe>(Phase::Install, config).unwrap();
    assert_eq!(
        mock.snapshot(),
        "allow target.write /etc/probe/a/b\n\
         allow target.write /etc/probe/l\n\
         allow packages.install probe-x\n\
         allow service.set mask probe.service\n\
         allow target.exec /usr/bin/probe -v\n\
         allow target.read /etc/probe/old\n\
         allow target.read /etc/probe/old\n\
         allow target.write /etc/probe/old\n\
         allow target.write /etc/probe/gone\n\
         allow host.env DIB_PROBE\n\
         allow env.set DIB_COPY\n\
         --- /etc/probe/a/b 0644\ntext\n\
         --- /etc/probe/gone removed\n\
         --- /etc/probe/l -> /dev/null\n\
         --- /etc/probe/old 0644\ntwo\n"
    );
    assert_eq!(mock.unit("probe.service"), Some(Unit::Masked));
    assert_eq!(mock.log(), [("info".to_owned(), "probed".to_owned())]);
    assert_eq!(mock.variable_now("DIB_COPY").as_deref(), Some("v"));
}

#[test]
fn needs_that_nothing_used_are_named() {
    let mock = Mock::strict(Probe::MANIFEST);
    mock.run::<Probe>(Phase::Install, r#"{"package": "probe-x", "write": "/etc/probe/x"}"#).unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| mock.assert_all_used())).unwrap_err();
    assert_eq!(
        panic.downcast_ref::<String>().unwrap(),
        "needs that were never used: write \"/etc/cron.d/probe\"; read \"/etc/probe/*\"; mask \"probe.service\"; \
         exec \"/usr/bin/probe **\"; user \"probe\"; env \"DIB_PROBE\"; set_env \"DIB_COPY\";"
    );
}

#[test]
fn programs_can_fail() {
    let mock = Mock::strict(Probe::MANIFEST).on_exec_fail("/usr/bin/probe -x", 3, "no such option");
    let error = mock.run::<Probe>(Phase::Install, r#"{"run": ["/usr/bin/probe", "-x"]}"#).unwrap_err();
    assert_eq!(error.to_string(), "`/usr/bin/probe -x` ended with status 3:\nno such option");
}
