//! A whole build on a machine that only records: order of hooks, what is held and given back, a failure and an interruption at every
//! call, the first error, a failing hook.

#[path = "../host/support/mod.rs"]
mod guests;
#[path = "../support/planning.rs"]
#[allow(dead_code, reason = "only the request is used here")]
mod planning;
mod support;

use dibw_engine::{Event, Failure, Level};
use dibw_plan::FaultKind;
use support::{Built, Fixture};

/// A build whose component writes `/etc/motd` at install 20.
fn fixture() -> Fixture {
    fixture_on(support::PARTITIONS)
}

/// The same on a disk of another layout.
fn fixture_on(layout: &str) -> Fixture {
    let manifest = r#"{"id": "guest", "version": "1", "api": "0.1", "hooks": [{"phase": "install", "order": 20}],
        "needs": [{"capability": "target.write", "value": "/etc/motd"}]}"#;
    let body = "(call $write (i32.const 2048) (i32.const 9) (i32.const 0) (i32.const 3) (i32.const 420) (i32.const 1024)) (i32.const 1024)";
    Fixture::new(&guests::component(&guests::module("/etc/motd", "", body), Some(manifest)), layout)
}

/// Everything taken was given back, last first, once, and nothing was asked for after it.
fn assert_given_back(built: &Built, what: &str) {
    let machine = built.machine.borrow();
    let reversed: Vec<&String> = machine.taken.iter().rev().collect();
    assert_eq!(machine.given_back.iter().collect::<Vec<_>>(), reversed, "{what}");
    assert_eq!((machine.held.len(), machine.releases), (0, 1), "{what}");
}

fn failure(built: Built) -> Failure {
    match built.outcome {
        Err(failure) => failure,
        Ok(_) => panic!("it was to fail"),
    }
}

#[test]
fn shell_and_wasm_hooks_run_by_order_number() {
    let built = fixture().build(|_| {});
    if let Err(failure) = &built.outcome {
        panic!("{failure}");
    }
    let titles = built.events.iter().filter_map(|event| match event {
        Event::Step { phase, title, .. } if phase == "install" => Some(title.as_str()),
        _ => None,
    });
    let hooks: Vec<&str> = titles.filter(|title| title.starts_with(['1', '2', '3'])).collect();
    assert_eq!(hooks, ["10-first", "20-guest", "30-third"]);
    assert_given_back(&built, "success");
    let machine = built.machine.borrow();
    assert_eq!(
        machine.taken,
        ["image image0", "device image0", "device boot", "device root", "mount /", "mount /boot"]
    );
}

/// What lies beside an artifact of `disk-image-create`, and what happens to the last ones.
#[test]
fn files_follow_diskimage_builder_when_the_plan_is_classic() {
    let mut fixture = fixture();
    fixture.change(|plan| {
        plan.classic = true;
        plan.checksums = [dibw_plan::Checksum::Md5].into();
    });
    let out = fixture.out();
    let write = |name: &str| std::fs::write(out.join(name), "old").expect("files can be written");
    let names = |built: &Built| {
        let mut names = built.files.clone();
        names.sort();
        // The moment of the build is not the same twice.
        let digits = |c: char| if c.is_ascii_digit() { '0' } else { c };
        let dated = |name: String| match name.contains("-20") {
            true => name.chars().map(digits).collect(),
            false => name,
        };
        names.into_iter().map(dated).collect::<Vec<_>>()
    };
    let built = fixture.build(|_| {});
    assert_eq!(names(&built), ["image.raw", "image.raw.md5", "image.tar", "image.tar.md5"]);
    let line = std::fs::read_to_string(out.join("image.raw.md5")).expect("it is there");
    assert!(line.ends_with(&format!("  {}\n", out.join("image.raw").display())), "{line}");
    // The tar is written over; the disk and its checksums are kept; the records have a directory.
    let built = fixture.build(|_| {
        for name in ["image.raw", "image.raw.md5", "image.raw.sha256", "image.tar", "image.tar.md5"] {
            write(name);
        }
        std::fs::create_dir(out.join("image.d")).expect("directories can be made");
    });
    let kept = "image-0000.00.00-00.00.00.raw";
    assert_eq!(
        names(&built),
        [
            kept,
            &format!("{kept}.md0"),
            &format!("{kept}.sha000"),
            "image.d",
            "image.raw",
            "image.raw.md5",
            "image.tar",
            "image.tar.md5"
        ]
    );
    assert!(out.join("image.d/plan.json").exists() && out.join("image.d/audit.jsonl").exists());
    assert_ne!(std::fs::read(out.join("image.tar")).expect("it is there"), b"old");
}

#[test]
fn volumes_are_made_between_partitions_and_file_systems_and_given_back_between_them() {
    let built = fixture_on(support::VOLUMES).build(|_| {});
    if let Err(failure) = &built.outcome {
        panic!("{failure}");
    }
    assert_given_back(&built, "success");
    let machine = built.machine.borrow();
    let volumes = ["pa", "pb", "vg", "pool", "root", "var"].map(|name| format!("volume {name}"));
    assert_eq!(machine.taken[4..10], volumes);
    assert_eq!(machine.taken[10..], ["mount /", "mount /var"]);
    let down = machine.calls.iter().position(|call| call == "take down lvm").expect("it was taken down");
    assert_eq!(machine.calls[down - 1], "unmount /");
    assert_eq!(machine.calls[down + 1], "detach b");
}

#[test]
fn a_failure_at_every_call_leaves_nothing_held() {
    [support::PARTITIONS, support::VOLUMES].into_iter().for_each(a_failure_at_every_call);
}

fn a_failure_at_every_call(layout: &str) {
    let fixture = fixture_on(layout);
    let calls = fixture.build(|_| {}).machine.borrow().calls.clone();
    assert!(calls.len() > 30, "{calls:#?}");
    for (number, call) in calls.iter().enumerate() {
        let built = fixture.build(|machine| machine.fail_at = Some(number));
        let what = format!("injected at {number}: {call}");
        assert_given_back(&built, &what);
        // Whatever ends a rehearsal, the real run of the hook meets it again, or it did not matter.
        let before = calls[..number].iter().rev().find(|call| *call != "target");
        let in_rehearsal = call == "target" && before.is_some_and(|call| call.contains("packages"));
        if in_rehearsal && built.outcome.is_ok() {
            continue;
        }
        assert_eq!(built.files, Vec::<String>::new(), "{what}");
        let machine = built.machine.clone();
        let failure = failure(built);
        let said = failure.to_string();
        assert!(said.contains(&what), "{what} became {said}");
        // After the failure only what mends the target is still asked for.
        let after = machine.borrow().calls[number + 1..].iter().filter(|call| *call != "target").count();
        assert_eq!(after, 0, "{what}: {:?}", &machine.borrow().calls[number + 1..]);
    }
}

#[test]
fn an_interruption_after_every_call_ends_the_build_in_order() {
    let fixture = fixture();
    let calls = fixture.build(|_| {}).machine.borrow().calls.clone();
    for (number, call) in calls.iter().enumerate() {
        let built = fixture.build(|machine| machine.interrupt_after = Some(number));
        let what = format!("interrupted after {number}: {call}");
        assert_given_back(&built, &what);
        assert_eq!(built.files, Vec::<String>::new(), "{what}");
        assert_eq!(failure(built).kind, FaultKind::Interrupted, "{what}");
    }
}

#[test]
fn the_first_error_wins_over_those_of_clean_up() {
    let fixture = fixture();
    let built = fixture.build(|machine| {
        machine.breaks = Some("30-third");
        machine.complains = true;
    });
    let failure = failure(built);
    assert_eq!(failure.message, "install.d/30-third of element shell failed with exit status 7");
    let built = fixture.build(|machine| machine.complains = true);
    assert!(built.outcome.is_ok());
    let warned = built.events.iter().any(
        |event| matches!(event, Event::Message { level: Level::Warn, text, .. } if text == "clean-up: busy"),
    );
    assert!(warned, "{:?}", built.events.last());
}

#[test]
fn a_failing_hook_is_named_with_its_last_20_lines() {
    let fixture = fixture();
    for (hook, name) in [
        ("10-extra", "extra-data.d/10-extra"),
        ("30-third", "install.d/30-third"),
        ("10-last", "finalise.d/10-last"),
        ("10-away", "cleanup.d/10-away"),
    ] {
        let built = fixture.build(|machine| machine.breaks = Some(hook));
        assert_given_back(&built, hook);
        let failure = failure(built);
        let message = format!("{name} of element shell failed with exit status 7");
        assert_eq!((failure.message, failure.status, failure.kind), (message, Some(7), FaultKind::Build));
        let expected: Vec<String> = (11..=30).map(|number| format!("line {number}")).collect();
        assert_eq!(failure.tail, expected, "{hook}");
    }
}

#[test]
fn packages_that_a_bootstrap_fetched_ahead_are_there_for_the_transaction_that_wants_them() {
    let archive = "/var/cache/apt/archives/vim_1%3a9_amd64.deb";
    let built = fixture().build(|machine| machine.fetches = Some("vim_1%3a9_amd64.deb"));
    if let Err(failure) = &built.outcome {
        panic!("{failure}");
    }
    assert_eq!(built.target[archive].len(), support::ARCHIVE);
    // Not what a hook left there beside it, and no file of the host.
    let brought = built.target.keys().filter(|path| path.starts_with("/var/cache/apt/archives/"));
    assert_eq!(brought.collect::<Vec<_>>(), [archive]);
    // Hooks of the root phase alone are told.
    let machine = built.machine.borrow();
    let [(hook, names)] = &machine.told_ahead[..] else { panic!("{:?}", machine.told_ahead) };
    assert!(hook.ends_with("root.d/10-os"), "{hook}");
    assert_eq!(names, "vim");
    drop(machine);

    let mut offline = fixture();
    offline.change(|plan| plan.offline = true);
    assert!(offline.build(|_| {}).machine.borrow().told_ahead.is_empty());
}
