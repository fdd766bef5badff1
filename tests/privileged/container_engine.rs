//! What becomes of a container image where an engine answers: the engine is a socket that speaks as much of Docker's HTTP as its client
//! asks for. Needs root and the docker client.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use dibw_tests::dibw::{Dibw, root};

/// What the engine was asked to do: path, and bytes that came with it.
type Asked = Arc<Mutex<Vec<(String, usize)>>>;

/// Whether the engine takes images.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loading {
    Works,
    Fails,
}

/// Starts an engine at `socket`, which ends with the test's process.
fn engine(socket: &Path, loading: Loading) -> Asked {
    let listener = UnixListener::bind(socket).expect("sockets can be made");
    let asked = Asked::default();
    let shared = asked.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, asked) = (stream.expect("a client"), shared.clone());
            thread::spawn(move || serve(stream, loading, &asked));
        }
    });
    asked
}

fn serve(stream: UnixStream, loading: Loading, asked: &Asked) {
    let mut answers = stream.try_clone().expect("a second handle");
    let mut requests = BufReader::new(stream);
    let mut line = String::new();
    while {
        line.clear();
        requests.read_line(&mut line).is_ok_and(|read| read > 0)
    } {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let size = body(&mut requests);
        if words[0] == "POST" {
            asked.lock().expect("no panic").push((words[1].clone(), size));
        }
        let (status, text) = match words[1].as_str() {
            path if path.contains("/images/load") && loading == Loading::Fails => {
                ("500 Error", "{\"message\":\"no room\"}")
            }
            path if path.contains("/tag") => ("201 Created", ""),
            _ => ("200 OK", "{}\n"),
        };
        let mut answer = format!("HTTP/1.1 {status}\r\nApi-Version: 1.43\r\nOstype: linux\r\n");
        write!(answer, "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", text.len())
            .expect("text");
        answer.push_str(if words[0] == "HEAD" { "" } else { text });
        if answers.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads the headers and what follows them; gives the length of that.
fn body(requests: &mut BufReader<UnixStream>) -> usize {
    let (mut length, mut chunked) = (0, false);
    loop {
        let header = text_line(requests).to_lowercase();
        length =
            header.strip_prefix("content-length: ").map_or(length, |text| text.parse().expect("a number"));
        chunked |= header == "transfer-encoding: chunked";
        if header.is_empty() {
            break;
        }
    }
    if !chunked {
        requests.read_exact(&mut vec![0; length]).expect("a body");
        return length;
    }
    let mut all = 0;
    loop {
        let size = usize::from_str_radix(&text_line(requests), 16).expect("a size");
        requests.read_exact(&mut vec![0; size]).expect("a chunk");
        assert_eq!(text_line(requests), "");
        all += size;
        if size == 0 {
            return all;
        }
    }
}

fn text_line(requests: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    requests.read_line(&mut line).expect("a line");
    line.trim_end().to_owned()
}

fn is_ready(test: &str) -> bool {
    if Command::new("docker").arg("--version").output().is_err() {
        eprintln!("skipped: {test} (needs the docker client)");
        return false;
    }
    root(test)
}

fn build(dibw: Dibw) -> Dibw {
    let socket = format!("unix://{}", dibw.dir().join("engine.sock").display());
    let dibw = dibw.env("DOCKER_HOST", socket).env("HOME", "/nonexistent");
    dibw.args([
        "build",
        "-n",
        "--log-format",
        "plain",
        "-t",
        "docker",
        "--docker-target",
        "fake:1",
        "fake-os",
    ])
}

#[test]
fn the_image_is_loaded_and_pushed() {
    if !is_ready("the_image_is_loaded_and_pushed") {
        return;
    }
    let dibw = Dibw::new();
    let asked = engine(&dibw.dir().join("engine.sock"), Loading::Works);
    let dibw = build(dibw).args(["--push", "docker://registry.example.com:5000/team/fake:2"]);
    let ran = dibw.succeed();
    let size = std::fs::metadata(dibw.dir().join("image.docker")).expect("it is there").len();
    let asked = asked.lock().expect("no panic");
    let whole = usize::try_from(size).expect("a small image");
    let paths: Vec<&str> = asked.iter().map(|(path, _)| path.trim_start_matches("/v1.43/")).collect();
    assert_eq!(
        paths,
        [
            "images/load?quiet=1",
            "images/fake:1/tag?repo=registry.example.com%3A5000%2Fteam%2Ffake&tag=2",
            "images/registry.example.com:5000/team/fake/push?tag=2"
        ]
    );
    assert_eq!(asked[0].1, whole, "the whole archive came");
    for said in ["docker has the image fake:1\n", "pushed to registry.example.com:5000/team/fake:2\n"] {
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
}

#[test]
fn an_engine_that_fails_is_a_warning_and_a_push_that_fails_an_error() {
    if !is_ready("an_engine_that_fails_is_a_warning_and_a_push_that_fails_an_error") {
        return;
    }
    let dibw = Dibw::new();
    let _ = engine(&dibw.dir().join("engine.sock"), Loading::Fails);
    let dibw = build(dibw);
    let ran = dibw.succeed();
    assert!(ran.stderr.contains("warn: docker did not take the image ("), "{}", ran.stderr);
    assert!(ran.stderr.contains("no room); try: docker load -i [DIR]/image.docker\n"), "{}", ran.stderr);
    if Command::new("skopeo").arg("--version").output().is_ok() {
        eprintln!("skipped: a push without an engine (skopeo is installed)");
        return;
    }
    let dibw = dibw.args(["--overwrite", "--push", "localhost:1/fake"]);
    let ran = dibw.run();
    assert_eq!(ran.code, 1);
    let named = "skopeo copy docker-archive:[DIR]/image.docker docker://localhost:1/fake:latest";
    assert!(ran.stderr.contains(named), "{}", ran.stderr);
    assert!(dibw.dir().join("image.docker").exists());
}
