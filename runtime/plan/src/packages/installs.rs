//! `package-installs.yaml` (or `.json`), and its deprecated predecessor, the lists in phase directories. What can be decided from the
//! architecture is decided here; what depends on variables stays with the request. Facts: compat/CONTRACT.md section 6.2.

use dibw_policy::yaml::{Data, Node, Spot};

use super::transaction::{Comparison, Condition, Intent, PackageRequest};
use crate::document;
use crate::fault::{FaultKind, Faults};
use crate::phase::Phase;
use crate::request::NamedText;

const KEYS: [&str; 8] =
    ["phase", "uninstall", "build-only", "installtype", "arch", "not-arch", "dib_python_version", "when"];

/// The phases that have a package transaction.
const PHASES: [Phase; 3] = [Phase::PreInstall, Phase::Install, Phase::PostInstall];

/// What `element` asks for on that architecture.
///
/// # Errors
/// Every unknown key, value of a wrong type, unknown phase and malformed condition, with its line.
pub fn parse_installs(element: &str, source: &NamedText, arch: &str) -> Result<Vec<PackageRequest>, Faults> {
    let document = document::load(source, FaultKind::Element)?;
    let mut reader =
        Reader { element, file: &source.name, arch, faults: Faults::default(), requests: Vec::new() };
    if !document.is_null() {
        match document.as_mapping() {
            Some(entries) => {
                entries.iter().for_each(|entry| reader.package(&entry.key, entry.spot, &entry.value))
            }
            None => {
                reader.fault(document.spot, format!("packages are expected here, not {}", document.kind()))
            }
        }
    }
    reader.faults.or(reader.requests)
}

/// The packages of a `<phase>.d/package-installs-<element>` list: one name a line, `-name` is removed at the end of the phase.
pub fn parse_list(element: &str, source: &NamedText, phase: Phase) -> Vec<PackageRequest> {
    let names = source.text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let names = names.flat_map(str::split_whitespace);
    let request = |name: &str| match name.strip_prefix('-') {
        Some(name) => {
            PackageRequest { intent: Intent::Remove, ..PackageRequest::install(Some(element), name, phase) }
        }
        None => PackageRequest::install(Some(element), name, phase),
    };
    names.map(request).collect()
}

struct Reader<'a> {
    element: &'a str,
    file: &'a str,
    arch: &'a str,
    faults: Faults,
    requests: Vec<PackageRequest>,
}

impl Reader<'_> {
    fn package(&mut self, name: &str, spot: Spot, value: &Node) {
        if value.is_null() {
            self.requests.push(PackageRequest::install(Some(self.element), name, Phase::Install));
        } else if let Some(items) = value.as_sequence() {
            items.iter().for_each(|item| self.entry(name, item));
        } else if value.as_mapping().is_some() {
            self.entry(name, value);
        } else {
            self.fault(spot, format!("`{name}`: options are expected here, not {}", value.kind()));
        }
    }

    fn entry(&mut self, name: &str, options: &Node) {
        let unknown = options.expect_keys(&KEYS);
        if !unknown.is_empty() {
            let faults =
                unknown.into_iter().map(|error| document::fault(FaultKind::Element, self.file, error));
            self.faults.0.extend(faults);
            return;
        }
        let mut request = PackageRequest::install(Some(self.element), name, Phase::Install);
        request.phase = self.phase(options);
        request.install_type = self.text(options, "installtype");
        request.python_version = self.text(options, "dib_python_version");
        request.when = self.conditions(options);
        let remove = PackageRequest { intent: Intent::Remove, ..request.clone() };
        let build_only = self.flag(options, "build-only");
        let uninstall = self.flag(options, "uninstall");
        if !self.is_for_this_architecture(options) {
            return;
        }
        match (build_only, uninstall) {
            (true, _) => self.requests.extend([request, remove]),
            (false, true) => self.requests.push(remove),
            (false, false) => self.requests.push(request),
        }
    }

    fn phase(&mut self, options: &Node) -> Phase {
        let Some(node) = options.get("phase") else { return Phase::Install };
        let text = node.as_text().unwrap_or_default();
        let name = text.strip_suffix(".d").unwrap_or(text);
        match Phase::from_name(name).filter(|phase| PHASES.contains(phase)) {
            Some(phase) => phase,
            None => {
                let names = PHASES.map(Phase::name);
                let message = format!("`{text}` is not a phase that installs packages");
                let fault = document::fault_at(FaultKind::Element, self.file, node.spot, message);
                self.faults.push(fault.hint(format!("one of {}", names.join(", "))).suggest(name, names));
                Phase::Install
            }
        }
    }

    fn text(&mut self, options: &Node, key: &str) -> Option<String> {
        let node = options.get(key)?;
        if node.as_text().is_none() {
            self.fault(node.spot, format!("`{key}`: a string is expected here, not {}", node.kind()));
        }
        node.as_text().map(str::to_owned)
    }

    /// A switch. Nothing after the key means it is on.
    fn flag(&mut self, options: &Node, key: &str) -> bool {
        match options.get(key).map(|node| (node, node.data())) {
            None => false,
            Some((_, Some(Data::Null))) => true,
            Some((_, Some(Data::Bool(value)))) => *value,
            Some((node, _)) => {
                self.fault(
                    node.spot,
                    format!("`{key}`: true or false is expected here, not {}", node.kind()),
                );
                false
            }
        }
    }

    fn is_for_this_architecture(&mut self, options: &Node) -> bool {
        let arch = self.text(options, "arch");
        let not_arch = self.text(options, "not-arch");
        let lists = |names: &str| names.split(',').any(|name| name.trim() == self.arch);
        match (arch, not_arch) {
            (None, None) => true,
            (Some(names), None) => lists(&names),
            (None, Some(names)) => !lists(&names),
            (Some(_), Some(_)) => {
                self.fault(options.spot, "`arch` and `not-arch` can't be given together");
                false
            }
        }
    }

    fn conditions(&mut self, options: &Node) -> Vec<Condition> {
        let Some(node) = options.get("when") else { return Vec::new() };
        let nodes = node.as_sequence().unwrap_or(std::slice::from_ref(node));
        nodes.iter().filter_map(|node| self.condition(node)).collect()
    }

    fn condition(&mut self, node: &Node) -> Option<Condition> {
        let parsed = node.as_text().and_then(parse_condition);
        if parsed.is_none() {
            let text = node.as_text().unwrap_or(node.kind());
            let message = format!("`when: {text}`: `VARIABLE = value` or `VARIABLE != value` is expected");
            self.fault(node.spot, message);
        }
        parsed
    }

    fn fault(&mut self, spot: Spot, message: impl Into<String>) {
        self.faults.push(document::fault_at(FaultKind::Element, self.file, spot, message));
    }
}

fn parse_condition(text: &str) -> Option<Condition> {
    let (left, value) = text.split_once('=')?;
    let (left, comparison) = match left.strip_suffix('!') {
        Some(left) => (left, Comparison::Differs),
        None => (left, Comparison::Equal),
    };
    let variable = left.trim();
    let named =
        !variable.is_empty() && variable.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    named.then(|| Condition { variable: variable.to_owned(), comparison, value: value.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<PackageRequest>, Faults> {
        let source = NamedText { name: "e/package-installs.yaml".into(), text: text.into() };
        parse_installs("e", &source, "amd64")
    }

    #[test]
    fn packages_are_read_with_what_they_ask() {
        let requests = parse(
            "vim:\nlinux-firmware:\n  uninstall: true\nkept:\n  uninstall: false\ngcc:\n  phase: pre-install.d\n  build-only: True\n\
             a:\n  arch: arm64, amd64\nb:\n  not-arch: amd64, arm64\nc:\n  - arch: ppc64le\n    installtype: source\n  - installtype: package\n\
             d:\n  dib_python_version: 3\n  when:\n    - DISTRO_NAME != ubuntu\n    - A=b c\n",
        )
        .unwrap();
        let short: Vec<_> = requests.iter().map(|r| (r.package.as_str(), r.phase.name(), r.intent)).collect();
        assert_eq!(
            short,
            [
                ("vim", "install", Intent::Install),
                ("linux-firmware", "install", Intent::Remove),
                ("kept", "install", Intent::Install),
                ("gcc", "pre-install", Intent::Install),
                ("gcc", "pre-install", Intent::Remove),
                ("a", "install", Intent::Install),
                ("c", "install", Intent::Install),
                ("d", "install", Intent::Install),
            ]
        );
        assert_eq!(requests[6].install_type.as_deref(), Some("package"));
        assert_eq!(requests[7].python_version.as_deref(), Some("3"));
        let when: Vec<String> = requests[7].when.iter().map(ToString::to_string).collect();
        assert_eq!(when, ["DISTRO_NAME != ubuntu", "A = b c"]);
    }

    #[test]
    fn json_and_nothing_are_read() {
        assert_eq!(parse(r#"{"vim": {"phase": "post-install.d"}, "nano": null}"#).unwrap().len(), 2);
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn all_mistakes_are_told_with_their_lines() {
        let faults =
            parse("a:\n  phse: install.d\nb:\n  phase: root.d\nc:\n  when: what\nd: 7\n").unwrap_err();
        let told: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "e/package-installs.yaml:2:3: unknown key `phse`\n  hint: did you mean `phase`?",
                "e/package-installs.yaml:4:10: `root.d` is not a phase that installs packages\n  hint: one of pre-install, install, post-install",
                "e/package-installs.yaml:6:9: `when: what`: `VARIABLE = value` or `VARIABLE != value` is expected",
                "e/package-installs.yaml:7:1: `d`: options are expected here, not an integer",
            ]
        );
    }

    #[test]
    fn the_deprecated_list_is_read() {
        let source = NamedText { name: "l".into(), text: "vim\n-nano # why\n\n".into() };
        let requests = parse_list("e", &source, Phase::Install);
        let short: Vec<_> = requests.iter().map(|r| (r.package.as_str(), r.intent)).collect();
        assert_eq!(short, [("vim", Intent::Install), ("nano", Intent::Remove)]);
    }
}
