//! What is written for people is true of what is there: links lead somewhere, and every variable, key, capability and class has its line.
//! No root, no network.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dibw_policy::{Capability, Class};

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = read(&page);
        for link in links(&text) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let directory = page.parent().expect("a page is in a directory");
            let target = if path.is_empty() { page.clone() } else { directory.join(path) };
            let leads = target.exists() && (anchor.is_empty() || anchors(&read(&target)).contains(anchor));
            if !leads {
                broken.push(format!("{}: {link}", shown(&page)));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn the_link_checker_sees_broken_links() {
    let text = "[a](b.md#c) [web](https://x) `[no](link)`\n```\n[no](code)\n```\n# What's `new`, here\n";
    assert_eq!(links(text), ["b.md#c"]);
    assert_eq!(anchors(text), BTreeSet::from(["whats-new-here".to_owned()]));
}

/// Given to hooks by the runtime; the user guide explains them.
const OF_THE_RUNTIME: [&str; 3] = ["DIB_DEBUG_TRACE", "DIB_MOUNTPOINTS", "DIB_OFFLINE"];

#[test]
fn readmes_of_classic_elements_name_their_variables() {
    let mut broken = Vec::new();
    for element in directories("elements") {
        let readme = read(&element.join("README.md"));
        for directory in listing(&element).into_iter().filter(|path| path.is_dir()) {
            for file in listing(&directory).into_iter().filter(|file| file.is_file()) {
                let text = read(&file);
                // What is given a value or a default here is this element's to explain.
                let defaulted = words_with_prefix(&text, "DIB_").into_iter().filter(|name| {
                    ["export NAME=", "{NAME:-", "{NAME-"]
                        .iter()
                        .any(|form| text.contains(&form.replace("NAME", name)))
                });
                let of_element = defaulted.filter(|name| !OF_THE_RUNTIME.contains(&name.as_str()));
                let missing = of_element.filter(|name| !readme.contains(name.as_str()));
                broken.extend(missing.map(|name| format!("{}: {name} of {}", shown(&element), shown(&file))));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn readmes_of_typed_elements_name_their_settings() {
    let mut broken = Vec::new();
    for element in directories("plugins").into_iter().filter(|path| path.join("src/lib.rs").exists()) {
        let readme = read(&element.join("README.md"));
        let settings = settings(&read(&element.join("src/lib.rs")));
        let missing = settings.iter().filter(|name| !readme.contains(&format!("`{name}`")));
        broken.extend(missing.map(|name| format!("{}: {name}", shown(&element))));
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn indexes_name_every_element() {
    let mut broken = Vec::new();
    for room in ["elements", "plugins"] {
        let index = read(&root().join(room).join("README.md"));
        for element in directories(room).iter().filter(|path| path.join("README.md").exists()) {
            let name = shown(element);
            let name = name.trim_start_matches(room).trim_start_matches('/');
            if !index.contains(&format!("[{name}]({name})")) {
                broken.push(format!("{room}/README.md: {name}"));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn the_capability_page_has_every_capability_and_class() {
    let page = read(&root().join("docs/capabilities.md"));
    let names = Capability::ALL.into_iter().map(Capability::name);
    let names = names.chain(Class::ALL.iter().map(|class| class.name()));
    let missing: Vec<_> = names.filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn the_guides_have_every_option_and_variable_of_the_programs() {
    // What only authors need is on their page.
    let page = ["docs/user-guide.md", "docs/elements.md"].map(|page| read(&root().join(page))).join("\n");
    let mut missing = BTreeSet::new();
    for file in ["runtime", "sdk"].iter().flat_map(|room| rust_files(&root().join(room))) {
        let text = read(&file);
        let named = words_with_prefix(&text, "DIBW_")
            .into_iter()
            .filter(|name| text.contains(&format!("\"{name}\"")));
        missing.extend(named.filter(|name| !page.contains(&format!("`{name}`"))));
        if shown(&file) == "runtime/cli/src/arguments.rs" {
            let by_environment = text.split("env = \"").skip(1).filter_map(|rest| rest.split('"').next());
            missing.extend(
                by_environment.filter(|name| !page.contains(&format!("`{name}`"))).map(str::to_owned),
            );
            let fields = text.lines().filter(|line| !line.contains("fn "));
            let flags = fields.filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(": "));
            let flags = flags.filter(|(name, _)| *name != "elements");
            let flags = flags.map(|(name, _)| match name {
                "settings" => "--set".to_owned(),
                "grants" => "--grant".to_owned(),
                name => format!("--{}", name.replace('_', "-")),
            });
            missing.extend(flags.filter(|flag| !page.contains(flag.as_str())));
        }
    }
    assert_eq!(missing, BTreeSet::new());
}

#[test]
fn the_pages_on_files_have_every_key() {
    let keys_of_images = read(&root().join("runtime/compat/src/images/keys.rs"));
    let keys_of_images = keys_of_images.split("key(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let page = read(&root().join("docs/images.md"));
    let missing: Vec<_> = keys_of_images.filter(|key| !page.contains(&format!("`{key}`"))).collect();
    assert_eq!(missing, Vec::<&str>::new());

    let page = read(&root().join("docs/block-devices.md"));
    let mut missing = BTreeSet::new();
    for file in rust_files(&root().join("runtime/plan/src/layout")) {
        let text = read(&file);
        let lists = text.split("expect_keys(fields, &[").skip(1).filter_map(|rest| rest.split(']').next());
        let keys = lists.flat_map(|list| list.split('"').skip(1).step_by(2));
        missing.extend(keys.filter(|key| !page.contains(&format!("`{key}`"))).map(str::to_owned));
    }
    assert_eq!(missing, BTreeSet::new());
}

/// Every page: the two at the top, those below `docs`, and the READMEs of elements, plugins and fixtures.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    let mut waiting: Vec<_> =
        ["docs", "elements", "plugins", "tests/fixtures"].map(|name| root().join(name)).into();
    while let Some(directory) = waiting.pop() {
        for path in listing(&directory) {
            if path.is_dir() && !path.ends_with("target") {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// Targets of the links of a page that are not on the web, code left out.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        }
        if in_code || line.starts_with("    ") {
            continue;
        }
        // Every other part between backquotes is code.
        for prose in line.split('`').step_by(2) {
            let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            found.extend(targets.filter(|target| !target.contains("://")));
        }
        // A link whose text is code: [`x`](y).
        let coded = line.split("`](").skip(1).filter_map(|rest| rest.split(')').next());
        found.extend(
            coded.filter(|target| !target.contains("://") && !found.contains(target)).collect::<Vec<_>>(),
        );
    }
    found
}

/// What headings can be linked to by, as GitHub makes it.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// Keys and variables of a typed element's own configuration: fields of its `#[derive(Config)]` struct and their `env`.
fn settings(source: &str) -> BTreeSet<String> {
    let Some(body) = source.split("#[derive(Config").nth(1) else { return BTreeSet::new() };
    // A unit struct has no settings; the first `{` would be another item's.
    let head = body.split(['{', ';']).next().unwrap_or_default();
    if body[head.len()..].starts_with(';') {
        return BTreeSet::new();
    }
    let body = body.split("\n}").next().unwrap_or_default();
    let fields = body.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
    let fields = fields.filter(|(name, _)| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
    let variables = body.split("env = \"").skip(1).filter_map(|rest| rest.split('"').next());
    fields.map(|(name, _)| name.replace('_', "-")).chain(variables.map(str::to_owned)).collect()
}

/// Words of capitals that begin so.
fn words_with_prefix(text: &str, prefix: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with(prefix) && word.len() > prefix.len()).map(str::to_owned).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the source tree")
}

/// A path within the source tree.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn directories(room: &str) -> Vec<PathBuf> {
    let mut found = listing(&root().join(room));
    found.retain(|path| path.is_dir() && !path.ends_with("target"));
    found
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let (directories, files): (Vec<_>, Vec<_>) =
        listing(directory).into_iter().partition(|path| path.is_dir());
    let below = directories.iter().filter(|path| !path.ends_with("target")).flat_map(|path| rust_files(path));
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    below.chain(files).collect()
}

fn listing(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
