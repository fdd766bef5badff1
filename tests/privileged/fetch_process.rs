//! The process that downloads, and the network namespace that its sibling, the proxy, listens in: what they have and lack.
//! Needs root.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dibw_fetch::{Client, FetchErrorKind, FetchRequest, Hop, proxy};
use dibw_sys::helper::{Helper, start_program};
use dibw_sys::network::NetworkNamespace;
use dibw_tests::download::{loopback_only, request};
use dibw_tests::proxied::{LIMITS, Watch};
use dibw_tests::web::{Names, Web, ok};

fn started(name: &str, env: &[(String, String)]) -> Option<Helper> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED fetch_process: needs root");
        return None;
    }
    Some(start_program(Path::new(env!("CARGO_BIN_EXE_sandbox-probe")), name, env).unwrap())
}

/// One line of what the helper `report` says.
fn field<'a>(report: &'a str, name: &str) -> &'a str {
    let line = report.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name} in {report}")).trim()
}

#[test]
fn a_helper_is_nobody_and_has_one_socket() {
    let env = [("SSL_CERT_FILE".to_owned(), "/x".to_owned())];
    let Some(helper) = started("report", &env) else { return };
    let mut channel = helper.channel().unwrap();
    let mut report = String::new();
    let mut lines = BufReader::new(&mut channel);
    while !report.contains("\nEnv:") {
        assert_ne!(lines.read_line(&mut report).unwrap(), 0, "it ended early: {report}");
    }
    let ids = "99999\t99999\t99999\t99999";
    for (name, expected) in [
        ("Uid", ids),
        ("Gid", ids),
        ("Groups", ""),
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Shadow", "false"),
        ("Env", "[(\"SSL_CERT_FILE\", \"/x\")]"),
    ] {
        assert_eq!(field(&report, name), expected, "{name}");
    }
    // Three, and the socket.
    let fds: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", helper.id())).unwrap().collect();
    let mut places: Vec<_> = fds
        .into_iter()
        .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap().display().to_string())
        .map(|place| place.split(':').next().unwrap_or_default().to_owned())
        .collect();
    places.sort();
    assert_eq!(places.iter().filter(|place| *place == "socket").count(), 1, "{places:?}");
    assert_eq!(places.len(), 4, "{places:?}");
    let process = format!("/proc/{}", helper.id());
    drop(helper);
    assert!(!Path::new(&process).exists());
}

#[test]
fn a_download_by_a_helper_of_its_own() {
    let Some(helper) = started("fetch", &[]) else { return };
    let body = vec![7; 3_000_000];
    let web = Web::fixed(ok(&body));
    let mut client = Client::new(helper.channel().unwrap());
    let request = FetchRequest { max_bytes: 3_000_000, ..request(&web.url("/")) };
    let mut bytes = Vec::new();
    let fetched = client.fetch(&request, &mut loopback_only, &mut bytes).unwrap();
    assert_eq!(fetched.bytes, 3_000_000);
    assert!(bytes == body);
    let refuse = &mut |_: &Hop| Err("not today".to_owned());
    let error = client.fetch(&request, refuse, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Refused);
    // A name that the machine itself knows.
    let named = FetchRequest { url: web.url("/").replace("127.0.0.1", "localhost"), ..request.clone() };
    let ipv4_first = &mut |hop: &Hop| loopback_only(hop);
    assert_eq!(client.fetch(&named, ipv4_first, &mut Vec::new()).unwrap().bytes, 3_000_000);
}

#[test]
fn a_killed_helper_is_one_clear_error_at_once() {
    let Some(helper) = started("fetch", &[]) else { return };
    let pid = rustix::process::Pid::from_raw(i32::try_from(helper.id()).unwrap()).unwrap();
    let web = Web::start(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        std::thread::sleep(Duration::from_secs(5));
        Ok(())
    });
    let began = Instant::now();
    let mut client = Client::new(helper.channel().unwrap());
    let error = client.fetch(&request(&web.url("/")), &mut loopback_only, &mut Vec::new()).unwrap_err();
    assert_eq!(error.message, "the process that downloads can't be used: it died");
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn an_unknown_helper_and_a_refused_start_are_told() {
    let Some(helper) = started("teleport", &[]) else { return };
    let mut client = Client::new(helper.channel().unwrap());
    let error =
        client.fetch(&request("http://127.0.0.1:1/"), &mut loopback_only, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Helper);
}

#[test]
fn a_listener_in_a_namespace_is_reached_from_there_only() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED fetch_process: needs root");
        return;
    }
    let namespace = NetworkNamespace::create().unwrap();
    let address = "127.0.0.1:3128".parse().unwrap();
    let listener = namespace.listen(address).unwrap();
    assert_eq!(listener.local_addr().unwrap(), address);
    let inside = |script: &str| {
        std::process::Command::new("nsenter")
            .arg(format!("--net={}", namespace.proc_path().display()))
            .args(["bash", "-c", script])
            .output()
            .unwrap()
    };
    let connected = inside("exec 3<>/dev/tcp/127.0.0.1/3128 && echo connected");
    assert_eq!(String::from_utf8_lossy(&connected.stdout), "connected\n", "{connected:?}");
    listener.accept().unwrap();
    // From here there is nobody; and from there nobody but lo.
    assert!(TcpStream::connect(address).is_err());
    let links = inside("ls /proc/self/net/dev && tail -n +3 /proc/self/net/dev | cut -d: -f1");
    assert!(String::from_utf8_lossy(&links.stdout).contains("lo"), "{links:?}");
    assert!(!inside("exec 3<>/dev/tcp/169.254.169.254/80").status.success());
    // A second one on the same address is told.
    let error = namespace.listen(address).unwrap_err();
    assert!(format!("{error:#}").contains("listen on 127.0.0.1:3128 of the sandbox"), "{error:#}");
}

#[test]
fn a_namespace_with_nothing_but_a_proxy_reaches_what_the_gate_allows() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED fetch_process: needs root");
        return;
    }
    let web = Web::fixed(ok(b"hello"));
    let names = Names::new(&[("site.example", &["127.0.0.1"]), ("denied.example", &["127.0.0.1"])]);
    let namespace = NetworkNamespace::create().unwrap();
    let listener = namespace.listen("127.0.0.1:3128".parse().unwrap()).unwrap();
    let watch = Arc::<Watch>::default();
    let running = proxy::start(listener, names, watch.clone(), LIMITS).unwrap();
    let inside = |host: &str| {
        let port = web.address.port();
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/3128; printf 'GET http://{host}:{port}/ HTTP/1.1\\r\\n\\r\\n' >&3; cat <&3"
        );
        let ran = std::process::Command::new("nsenter")
            .arg(format!("--net={}", namespace.proc_path().display()))
            .args(["bash", "-c", &script])
            .output()
            .unwrap();
        String::from_utf8(ran.stdout).unwrap()
    };
    assert!(inside("site.example").ends_with("hello"));
    assert!(inside("denied.example").ends_with("dibw: no rule allows denied.example\n"));
    assert_eq!(web.seen().len(), 1);
    drop(running);
    assert_eq!(inside("site.example"), "");
}
