//! The levels of classic hooks in whole builds: what `strict` hooks outside the target can do and can't, where they may connect to, what
//! the audit log says of it, and that `deny` stops a build before it begins. Needs root.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dibw_policy::audit::{Line, verify};
use dibw_tests::dibw::{Dibw, root};

/// Writes an element with one script.
fn element(dibw: &Dibw, name: &str, hook: &str, script: &str) -> PathBuf {
    let directory = dibw.dir().join("elements").join(name);
    let file = directory.join(hook);
    fs::create_dir_all(file.parent().expect("a hook lies in a directory")).expect("made");
    fs::write(&file, format!("#!/bin/bash\nset -eu\n{script}\n")).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("made executable");
    directory
}

fn policy(dibw: &Dibw, classic: &str) -> String {
    let file = dibw.dir().join("policy.yaml");
    fs::write(&file, format!("api: dibw/policy/v1\nclassic:\n{classic}")).expect("written");
    file.display().to_string()
}

/// The records of a log whose chain is whole.
fn records(log: &Path) -> Vec<Line> {
    let text = fs::read_to_string(log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
    verify(&text).unwrap_or_else(|fault| panic!("{}: {fault}", log.display()));
    text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
}

fn build(dibw: Dibw, policy: &str, element: &Path) -> Dibw {
    let args = ["build", "-n", "--log-format", "plain", "-t", "tar", "--policy", policy, "fake-os"];
    dibw.args(args).args([element.display().to_string()])
}

#[test]
fn a_strict_hook_outside_sees_the_machine_as_nobody_and_the_target_as_root() {
    if !root("a_strict_hook_outside_sees_the_machine_as_nobody_and_the_target_as_root") {
        return;
    }
    let dibw = Dibw::new();
    // Each line must fail; what is left in the target must be root's.
    let script = "
for attempt in 'cat /etc/shadow' 'touch /etc/dibw-escape' 'mount -t tmpfs x /mnt' 'ls $TMP_BUILD_DIR/images' 'ls /root/*' \\
    'touch $TMP_HOOKS_PATH/extra-data.d/99-planted' 'test -e $TMP_HOOKS_PATH/root.d/10-fake-os' 'true </dev/tcp/127.0.0.1/1'; do
    ! eval \"$attempt\" 2>/dev/null || { echo \"$attempt worked\"; exit 1; }
done
test \"$(id -u)\" = 0
test -e \"$TMP_HOOKS_PATH/extra-data.d/10-look\"
touch \"$DIB_IMAGE_CACHE/mine\"
install -D -m 0640 -o 5 -g 6 /etc/hostname \"$TMP_MOUNT_PATH/opt/looked\"";
    let looks = element(&dibw, "looks", "extra-data.d/10-look", script);
    let policy = policy(&dibw, "  allow:\n    - {element: looks, level: strict}\n");
    let dibw = build(dibw, &policy, &looks);
    drop(dibw.succeed());
    let list = std::process::Command::new("tar")
        .args(["-tvf", "image.tar", "--numeric-owner"])
        .current_dir(dibw.dir())
        .output()
        .expect("tar runs");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let looked = list.lines().find(|line| line.ends_with("opt/looked")).expect("the hook wrote it");
    assert!(looked.starts_with("-rw-r----- 5/6"), "{looked}");
    assert!(!Path::new("/etc/dibw-escape").exists());
    let log = records(&dibw.dir().join("image.audit.jsonl"));
    let hook = log.iter().find(|line| line.subject == "extra-data.d/10-look").expect("the hook is recorded");
    assert_eq!(
        (hook.cap.as_str(), hook.decision.as_str(), hook.element.as_str()),
        ("classic.exec", "allow", "looks")
    );
    assert!(
        hook.rule.starts_with("strict: classic.allow of ") && hook.rule.ends_with("policy.yaml:4"),
        "{}",
        hook.rule
    );
    let denied = log.iter().find(|line| line.cap == "sandbox" && line.subject.starts_with("mount"));
    let denied = denied.unwrap_or_else(|| panic!("the attempt to mount is recorded: {log:#?}"));
    assert_eq!((denied.element.as_str(), denied.decision.as_str()), ("looks", "deny"));
}

#[test]
fn a_list_of_origins_is_all_the_network_there_is() {
    if !root("a_list_of_origins_is_all_the_network_there_is") {
        return;
    }
    let server = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = server.local_addr().expect("bound").port();
    let answers = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().expect("a connection");
        let mut asked = [0; 1024];
        let count = stream.read(&mut asked).expect("a request");
        let said =
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nlisted");
        said.expect("an answer");
        String::from_utf8_lossy(&asked[..count]).into_owned()
    });
    let dibw = Dibw::new();
    let script = format!(
        "
ask() {{ exec 3<>/dev/tcp/127.0.0.1/3128; printf 'GET %s HTTP/1.1\\r\\nHost: %s\\r\\nConnection: close\\r\\n\\r\\n' \"$1\" \"$2\" >&3; cat <&3; exec 3>&-; }}
test \"$http_proxy\" = http://127.0.0.1:3128
ask http://127.0.0.1:{port}/file 127.0.0.1:{port} | grep -q listed
ask http://169.254.169.254/latest 169.254.169.254 | head -1 | grep -q 403
ask http://127.0.0.1:1/ 127.0.0.1:1 | head -1 | grep -q 403
! true </dev/tcp/127.0.0.1/{port}"
    );
    let fetches = element(&dibw, "fetches", "extra-data.d/10-fetch", &script);
    let net = format!("[{{origin: \"http://127.0.0.1:{port}\"}}, {{address: 127.0.0.0/8}}]");
    let policy = policy(&dibw, &format!("  allow:\n    - {{element: fetches, level: strict, net: {net}}}\n"));
    let dibw = build(dibw, &policy, &fetches);
    drop(dibw.succeed());
    assert!(answers.join().expect("the server lives").starts_with("GET /file HTTP/1.1\r\n"));
    let log = records(&dibw.dir().join("image.audit.jsonl"));
    let decided: Vec<(&str, &str)> = log
        .iter()
        .filter(|line| line.cap.starts_with("net."))
        .map(|line| (line.subject.split(' ').next().unwrap_or_default(), line.decision.as_str()))
        .collect();
    let expected = [
        (format!("http://127.0.0.1:{port}/file"), "allow"),
        ("http://169.254.169.254/latest".to_owned(), "deny"),
        ("http://127.0.0.1:1/".to_owned(), "deny"),
    ];
    assert_eq!(decided, expected.each_ref().map(|(url, word)| (url.as_str(), *word)));
}

#[test]
fn a_denied_element_stops_the_build_before_it_begins() {
    if !root("a_denied_element_stops_the_build_before_it_begins") {
        return;
    }
    let dibw = Dibw::new();
    let denied = element(&dibw, "denied", "install.d/10-never", "exit 1");
    let policy = policy(&dibw, "  allow:\n    - {element: denied, level: deny}\n");
    let ran = build(dibw, &policy, &denied).run();
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("classic.allow of") && ran.stderr.contains("policy.yaml:4"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_a_failed_build_was_refused_is_kept() {
    if !root("what_a_failed_build_was_refused_is_kept") {
        return;
    }
    let dibw = Dibw::new();
    let fails = element(&dibw, "fails", "install.d/10-try", "mount -t tmpfs x /mnt");
    let policy = policy(&dibw, "  default: confined\n");
    let dibw = build(dibw, &policy, &fails);
    let ran = dibw.run();
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let log = records(&dibw.dir().join("image.refused.jsonl"));
    let denied = log.iter().find(|line| line.cap == "sandbox" && line.subject.starts_with("mount"));
    assert!(denied.is_some_and(|line| line.element == "fails" && line.phase == "install"), "{log:#?}");
}

#[test]
fn a_build_may_have_a_time() {
    if !root("a_build_may_have_a_time") {
        return;
    }
    let dibw = Dibw::new();
    let sleeps = element(&dibw, "sleeps", "install.d/10-sleep", "sleep 600");
    let file = dibw.dir().join("policy.yaml");
    fs::write(
        &file,
        "api: dibw/policy/v1\nclassic: {default: confined}\nceiling:\n  resources: {wall: 8s}\n",
    )
    .expect("written");
    let began = std::time::Instant::now();
    let ran = build(dibw, &file.display().to_string(), &sleeps).run();
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("longer than it may") || ran.stderr.contains("time limit of 8 s"),
        "{}",
        ran.stderr
    );
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}
