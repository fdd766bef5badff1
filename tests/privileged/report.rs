//! The report of a build: its numbers are those of the log, no name from the image breaks out of the page, and a browser shows it without
//! asking anybody for anything.

use std::fs;
use std::path::Path;
use std::process::Command;

use dibw_tests::dibw::{Dibw, root};
use serde_json::Value;

/// A file name that would be markup.
const HOSTILE: &str = "<script>document.title='broken'<script><img src=x onerror=document.title='broken'>";

/// An image with hostile names of files and packages.
fn image() -> Dibw {
    let dibw = Dibw::new();
    let name = HOSTILE.replace('\'', "'\\''");
    // A slash ends a name, so a closing tag is a directory.
    dibw.file(
        "e/hostile/install.d/50-hostile",
        &format!(
            "#!/bin/bash\nset -eu\nmkdir -p '/opt/<' '/opt/&amp;\u{2028}\"' /var/lib/dpkg/info\n\
             dd if=/dev/zero of='/opt/{name}' bs=1024 count=2048 status=none\n\
             dd if=/dev/zero of='/opt/</script><img src=x onerror=alert(1)>' bs=1024 count=1024 status=none\n\
             printf '/opt/{name}\\n' > '/var/lib/dpkg/info/<b>evil.list'\n\
             cat > /usr/bin/dpkg-query <<'END'\n#!/bin/bash\nprintf '<b>evil\\t1<i>\\tall\\n'\nEND\n\
             chmod 755 /usr/bin/dpkg-query\n"
        ),
    );
    dibw.file("e/hostile/environment.d/90-distro.bash", "export DISTRO_NAME=debian\n");
    let elements = dibw.dir().join("e");
    dibw.elements(elements).args([
        "build",
        "-n",
        "-t",
        "raw,tar",
        "fake-os",
        "hostile",
        "--image-size",
        "512MiB",
    ])
}

/// The data that a page has embedded.
fn data(page: &str) -> Value {
    let (_, rest) =
        page.split_once("<script type=\"application/json\" id=\"data\">").expect("the page has data");
    let (json, _) = rest.split_once("</script>").expect("the data end");
    serde_json::from_str(json).expect("the data are JSON")
}

/// The events of a build, by name.
fn events<'a>(log: &'a [Value], name: &'a str) -> impl Iterator<Item = &'a Value> {
    log.iter().filter(move |event| event["event"] == name)
}

fn milliseconds(seconds: &Value) -> u64 {
    (seconds.as_f64().expect("a number of seconds") * 1000.0).round() as u64
}

fn list<'a>(value: &'a Value, name: &str) -> &'a Vec<Value> {
    value[name].as_array().unwrap_or_else(|| panic!("{name} is a list: {value}"))
}

#[test]
fn a_report_agrees_with_the_log_and_a_browser_shows_it() {
    if !root("a_report_agrees_with_the_log_and_a_browser_shows_it") {
        return;
    }
    let dibw = image().args(["--log-format", "json"]);
    let ran = dibw.succeed();
    let log: Vec<Value> =
        ran.stderr.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    let path = dibw.dir().join("image.report.html");
    let page = fs::read_to_string(&path).expect("the report is beside the artifacts");
    let report = data(&page);
    agrees(&report, &log, dibw.dir());
    lists_packages(&report, dibw.dir());
    knows_the_bytes(&report);
    cannot_be_broken_out_of(&page);
    assert!(page.len() < 1 << 20, "{} bytes", page.len());
    if let Some(browser) = browser() {
        is_shown(&browser, &path, &report);
        is_shut(&browser, &page);
    }
}

/// Steps, their times and elements, artifacts and their bytes.
fn agrees(report: &Value, log: &[Value], directory: &Path) {
    let steps = list(report, "steps");
    assert!(steps.len() > 10, "{steps:?}");
    let begun: Vec<_> = events(log, "step").collect();
    let done: Vec<_> = events(log, "step-done").collect();
    assert_eq!((steps.len(), steps.len()), (begun.len(), done.len()));
    for ((step, begun), done) in steps.iter().zip(begun).zip(&done) {
        for name in ["number", "phase", "element", "title"] {
            assert_eq!(step[name], begun[name], "{step}");
        }
        assert_eq!(milliseconds(&step["took"]), milliseconds(&done["took"]), "{step}");
    }
    let sum: u64 = done.iter().map(|done| milliseconds(&done["took"])).sum();
    let took = milliseconds(&report["took"]);
    let finished = milliseconds(&events(log, "finished").next().expect("it ended")["took"]);
    assert!(sum <= took && took <= finished, "{sum} {took} {finished}");
    let mut last = 0;
    for step in steps {
        let start = milliseconds(&step["start"]);
        assert!(last <= start + 1, "steps follow each other: {step}");
        last = start + milliseconds(&step["took"]);
    }
    let artifacts = list(report, "artifacts");
    let told: Vec<_> = events(log, "artifact").collect();
    assert_eq!((artifacts.len(), told.len()), (2, 2));
    for (artifact, told) in artifacts.iter().zip(told) {
        let name = artifact["name"].as_str().expect("a name");
        assert_eq!((&artifact["bytes"], &artifact["sha256"]), (&told["bytes"], &told["sha256"]));
        assert_eq!(artifact["bytes"], fs::metadata(directory.join(name)).expect("it is there").len());
    }
    let warned = events(log, "message").filter(|event| event["level"] == "warn" || event["level"] == "error");
    assert_eq!(list(report, "warnings").len(), warned.count());
    let capabilities = list(report, "capabilities");
    let hook = |record: &&Value| record["element"] == "hostile" && record["capability"] == "classic.exec";
    assert_eq!(capabilities.iter().find(hook).expect("hooks are recorded")["allowed"], 1, "{capabilities:?}");
}

/// What the target's package manager lists is in both places.
fn lists_packages(report: &Value, directory: &Path) {
    let list = fs::read_to_string(directory.join("image.packages.json")).expect("it is beside the artifacts");
    let list: Value = serde_json::from_str(&list).expect("it is JSON");
    assert_eq!(report["packages"], list);
    assert_eq!(list, serde_json::json!([{"architecture": "all", "name": "<b>evil", "version": "1<i>"}]));
}

/// The three sums are of the same bytes, and each knows what the hostile element wrote.
fn knows_the_bytes(report: &Value) {
    let bytes = &report["bytes"];
    let total = bytes["total"].as_u64().expect("a number of bytes");
    assert!((6 << 20..512 << 20).contains(&total), "{total}");
    assert_eq!(bytes["tree"]["b"], total);
    let of = |share: &Value| share["b"].as_u64().expect("a number of bytes");
    for view in ["packages", "elements"] {
        assert_eq!(list(bytes, view).iter().map(of).sum::<u64>(), total, "{view}");
    }
    let share = |view: &str, name: &str| {
        let shares = list(bytes, view).iter().find(|share| share["n"] == name);
        of(shares.unwrap_or_else(|| panic!("{name} in {view}: {bytes}")))
    };
    assert!((2 << 20..3 << 20).contains(&share("packages", "<b>evil")));
    assert!((3 << 20..4 << 20).contains(&share("elements", "hostile")));
    assert!(share("elements", "fake-os") > 3 << 20);
    let opt = list(&bytes["tree"], "c").iter().find(|node| node["n"] == "opt").expect("/opt is large enough");
    let names: Vec<_> = list(opt, "c").iter().map(|node| node["n"].as_str().expect("a name")).collect();
    assert!(HOSTILE.starts_with(names[0]) && names[0].len() > 40, "{names:?}");
}

/// Between our own tags there is no other.
fn cannot_be_broken_out_of(page: &str) {
    assert!(!page.contains("<img") && !page.contains("<b>evil"), "markup from the image");
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script").count(), 2);
    assert_eq!(page.matches("http-equiv=\"Content-Security-Policy\"").count(), 1);
    for outside in ["http://", "https://", "src=\"", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside} in the page");
    }
}

/// The browser, or none where there need not be one.
fn browser() -> Option<String> {
    for name in ["chromium", "chromium-browser", "google-chrome"] {
        if Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()) {
            return Some(name.to_owned());
        }
    }
    let required = std::env::var_os("DIBW_REQUIRE_CHROMIUM").is_some_and(|value| !value.is_empty());
    assert!(!required, "chromium is missing: apt-get install --no-install-recommends chromium");
    eprintln!("skipped: the look of the report (chromium is not installed)");
    None
}

/// What the browser made of the page: all bars, all packages, the map, and no error of the script, which marks its end.
fn is_shown(browser: &str, path: &Path, report: &Value) {
    let (dom, console) = shown(browser, path);
    assert_eq!(console, Vec::<String>::new(), "what the page told the console");
    assert!(dom.contains("data-drawn=\"yes\""), "the script did not come to its end: {dom}");
    let steps = list(report, "steps").len();
    assert_eq!(dom.matches("<rect class=\"bar ").count(), steps, "bars");
    let rectangles = dom.matches("class=\"level-1").count();
    assert!(rectangles >= 3, "{rectangles} rectangles of the map");
    assert!(dom.contains("<title>image - build report</title>"), "the title is as it was written");
    assert!(!dom.contains("<img"), "markup from the image");
}

/// Should markup get in all the same, it can neither load nor run anything.
fn is_shut(browser: &str, page: &str) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    let intruder = format!(
        "<main><img src=\"http://{address}/\"><script>document.title = 'broken'</script><style>@import url(http://{address}/x)</style>"
    );
    let scratch = tempfile::tempdir().expect("directories can be made");
    let path = scratch.path().join("report.html");
    fs::write(&path, page.replacen("<main>", &intruder, 1)).expect("files can be written");
    let (dom, console) = shown(browser, &path);
    assert!(dom.contains("<img") && dom.contains("<title>image - build report</title>"), "it ran");
    assert!(console.len() >= 2, "the browser says what it refuses: {console:?}");
    listener.set_nonblocking(true).expect("sockets can be made so");
    assert!(listener.accept().is_err(), "the page asked the network");
}

/// The page after its script has run, and what it told the console.
fn shown(browser: &str, path: &Path) -> (String, Vec<String>) {
    let profile = tempfile::tempdir().expect("directories can be made");
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--window-size=1280,3000", "--enable-logging=stderr"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--virtual-time-budget=3000", "--dump-dom"])
        .arg(format!("file://{}", path.display()))
        .output()
        .expect("the browser can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && dom.contains("</html>"), "{said}");
    (dom, said.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect())
}

#[test]
fn timings_are_told_after_the_build() {
    if !root("timings_are_told_after_the_build") {
        return;
    }
    let dibw = image().args(["--timings", "--log-format", "plain"]);
    let ran = dibw.succeed();
    let (_, table) = ran.stderr.split_once("     TIME  SHARE  PHASE").expect("the table is told");
    let steps = table.lines().skip(1).take_while(|line| !line.is_empty());
    let shares: Vec<f64> = steps
        .map(|line| {
            line.split_whitespace().find_map(|word| word.strip_suffix('%')?.parse().ok()).expect("a share")
        })
        .collect();
    assert!(shares.len() > 10 && shares.is_sorted_by(|left, right| left >= right), "{table}");
    assert!(table.contains("the build"), "{table}");
    let refused = image().args(["--timings", "--log-format", "json"]).run();
    assert_eq!(refused.code, 2, "{}", refused.stderr);
}
