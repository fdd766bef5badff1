//! From the elements the user named to all elements of the build, in dependency order. Pure; knows no files.
//! Called by the planner and by `dibw element deps`. Facts: compat/CONTRACT.md sections 2.3 and 2.5.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::element::{Catalogue, Element};
use crate::fault::{Fault, FaultKind, Faults};
use crate::request::Request;

/// What an image has to have exactly one provider of.
pub const OPERATING_SYSTEM: &str = "operating-system";

/// Elements whose work the runtime does itself. An element may depend on one that is nowhere on the elements path.
pub const NATIVE: [&str; 5] = ["install-bin", "install-static", "package-installs", "pkg-map", "svc-map"];

/// True when the runtime does what this element's hooks do, so that they are left out. `pkg-map` keeps its hook: it puts the maps
/// where scripts in the target look for them.
pub fn hooks_are_native(element: &str) -> bool {
    element != "pkg-map" && NATIVE.contains(&element)
}

/// Elements it needs, from its files and its manifest.
pub fn dependencies(element: &Element) -> Vec<&str> {
    let typed = element.typed.iter().flat_map(|typed| &typed.manifest.depends);
    element.depends.iter().chain(typed).map(String::as_str).collect()
}

/// Names it stands for, from its files and its manifest.
pub fn provisions(element: &Element) -> Vec<&str> {
    let typed = element.typed.iter().flat_map(|typed| &typed.manifest.provides);
    element.provides.iter().chain(typed).map(String::as_str).collect()
}

/// The list before expansion: the user's elements, a block device element for a bare `vm`, and `base` in front.
pub fn assemble(request: &Request, catalogue: &Catalogue) -> Vec<String> {
    let mut names = request.elements.clone();
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    if has("vm") && !names.iter().any(|name| name.starts_with("block-device-")) {
        let arm = matches!(request.arch.as_str(), "arm64" | "aarch64");
        names.push(if arm { "block-device-efi" } else { "block-device-mbr" }.to_owned());
    }
    if !request.skip_base && catalogue.elements.contains_key("base") {
        names.insert(0, "base".to_owned());
    }
    names
}

/// All elements of the build: `user` and what they need, dependencies first, ties by name.
///
/// # Errors
/// Every unknown element, every name provided twice, every element that another one already provides, a missing operating system.
pub fn expand(user: &[String], catalogue: &Catalogue) -> Result<Vec<String>, Faults> {
    let mut expansion = Expansion::new(user, catalogue);
    expansion.drain();
    expansion.check_conflicts(user);
    expansion.check_operating_system();
    let Expansion { faults, members, provided, .. } = expansion;
    let names = members.into_iter().filter(|name| !provided.contains_key(name)).collect();
    faults.or(()).map(|()| in_dependency_order(&names, &provided, catalogue))
}

/// The state of the classic algorithm: a queue, the members so far, and who provides what.
struct Expansion<'a> {
    catalogue: &'a Catalogue,
    queue: VecDeque<(String, Option<String>)>,
    members: BTreeSet<String>,
    provided: BTreeMap<String, String>,
    faults: Faults,
}

impl<'a> Expansion<'a> {
    fn new(user: &[String], catalogue: &'a Catalogue) -> Self {
        Self {
            catalogue,
            queue: user.iter().map(|name| (name.clone(), None)).collect(),
            members: user.iter().cloned().collect(),
            provided: BTreeMap::new(),
            faults: Faults::default(),
        }
    }

    /// Takes elements until none is left. A dependency that is no element may be a name that a later one provides (the classic
    /// outcome depends on hash order), so it waits until the others are through.
    fn drain(&mut self) {
        let mut waiting = Vec::new();
        let mut unknown = BTreeSet::new();
        while let Some((name, wanted_by)) = self.queue.pop_front() {
            if self.provided.contains_key(&name) {
                continue;
            }
            match self.catalogue.elements.get(&name) {
                Some(element) => self.take(element),
                None if wanted_by.is_some() => waiting.push((name, wanted_by)),
                None => self.unknown(&name, None, &mut unknown),
            }
        }
        for (name, wanted_by) in waiting {
            if !self.provided.contains_key(&name) && !NATIVE.contains(&name.as_str()) {
                self.unknown(&name, wanted_by.as_deref(), &mut unknown);
            }
            self.members.remove(&name);
        }
    }

    fn unknown(&mut self, name: &str, wanted_by: Option<&str>, reported: &mut BTreeSet<String>) {
        if !reported.insert(name.to_owned()) {
            return;
        }
        if let Some(broken) = self.catalogue.broken.get(name) {
            self.faults.0.extend(broken.0.clone());
            return;
        }
        let by = wanted_by.map(|by| format!(" (needed by `{by}`)")).unwrap_or_default();
        let fault = Fault::new(FaultKind::Element, format!("Element '{name}' not found{by}"));
        let providers: Vec<&str> = self.providers(name).collect();
        self.faults.push(match providers.is_empty() {
            true => fault.suggest(name, self.catalogue.elements.keys().map(String::as_str)),
            false => fault.hint(format!("add one that provides it: {}", providers.join(", "))),
        });
    }

    /// The elements that stand for a name.
    fn providers(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let all = self.catalogue.elements.values();
        all.filter(move |element| provisions(element).contains(&name)).map(|element| element.name.as_str())
    }

    fn take(&mut self, element: &Element) {
        let provides: BTreeSet<&str> = provisions(element).into_iter().collect();
        for name in provides {
            match self.provided.get(name) {
                Some(first) => {
                    let message = format!("{name}: already provided by ['{first}']");
                    let hint = if *first == element.name {
                        format!("`{first}` is listed twice; name it once")
                    } else {
                        format!("`{}` provides it too; keep one of the two elements", element.name)
                    };
                    self.faults.push(Fault::new(FaultKind::Element, message).hint(hint));
                }
                None => {
                    self.provided.insert(name.to_owned(), element.name.clone());
                }
            }
        }
        let needed: BTreeSet<&str> = dependencies(element).into_iter().collect();
        for name in needed {
            if !self.provided.contains_key(name) && self.members.insert(name.to_owned()) {
                self.queue.push_back((name.to_owned(), Some(element.name.clone())));
            }
        }
    }

    fn check_conflicts(&mut self, user: &[String]) {
        let user: BTreeSet<&String> = user.iter().collect();
        for name in user {
            if let Some(by) = self.provided.get(name) {
                let message = format!(
                    "The following elements are already provided by another element: {name} : already provided by ['{by}']"
                );
                self.faults.push(Fault::new(FaultKind::Element, message).hint(format!("leave out `{name}`")));
            }
        }
    }

    /// Only when nothing else is wrong: an unknown element may well be the missing one.
    fn check_operating_system(&mut self) {
        if self.provided.contains_key(OPERATING_SYSTEM) || !self.faults.is_empty() {
            return;
        }
        let known: Vec<&str> = self.providers(OPERATING_SYSTEM).collect();
        let fault = Fault::new(FaultKind::Element, "Please include an operating system element");
        self.faults.push(match known.is_empty() {
            true => {
                fault.hint("no element on the elements path provides `operating-system`; set ELEMENTS_PATH")
            }
            false => fault.hint(format!("add one of: {}", known.join(", "))),
        });
    }
}

/// Dependencies before dependants, ties by name. Cycles are legal; one is opened at the smallest name in it.
fn in_dependency_order(
    names: &BTreeSet<String>,
    provided: &BTreeMap<String, String>,
    catalogue: &Catalogue,
) -> Vec<String> {
    let mut needs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut needed_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        let Some(element) = catalogue.elements.get(name) else { continue };
        let real = dependencies(element).into_iter().filter_map(|need| {
            let provider = provided.get(need).map_or(need, String::as_str);
            names.get(provider).map(String::as_str).filter(|real| real != name)
        });
        let real: BTreeSet<&str> = real.collect();
        for need in &real {
            needed_by.entry(need).or_default().push(name);
        }
        needs.insert(name, real);
    }
    let mut ready: BTreeSet<&str> =
        needs.iter().filter(|(_, open)| open.is_empty()).map(|(name, _)| *name).collect();
    let mut ordered = Vec::with_capacity(names.len());
    while !needs.is_empty() {
        let next = ready.pop_first().unwrap_or_else(|| smallest_in_a_cycle(&needs));
        needs.remove(next);
        ordered.push(next.to_owned());
        for dependant in needed_by.get(next).into_iter().flatten() {
            if let Some(open) = needs.get_mut(dependant)
                && open.remove(next)
                && open.is_empty()
            {
                ready.insert(dependant);
            }
        }
    }
    ordered
}

/// Walks along open needs, smallest first, until a name comes again: that is a cycle.
fn smallest_in_a_cycle<'a>(needs: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> &'a str {
    let mut path: Vec<&str> = Vec::new();
    let mut here = *needs.keys().next().expect("called only while elements are left");
    loop {
        if let Some(start) = path.iter().position(|name| *name == here) {
            return path[start..].iter().min().copied().expect("a cycle has a member");
        }
        path.push(here);
        here = needs[here].first().copied().expect("an element that needs nothing would have been ready");
    }
}
