//! `dibw policy explain`: what every gate says about one question, and the lines that would allow it.

use std::path::{Path, PathBuf};

use dibw_plan::{Element, Fault, FaultKind, Faults};
use dibw_policy::{
    Admission, Answer, Capability, Decision, Effective, Explanation, Fix, Gate, Grant, Policy, Question,
    Side, Verdict, admit, confinement_of, subject,
};

use crate::commands::Outcome;

/// Who asks, and for what.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dibw policy explain motd target.write /etc/motd
  dibw policy explain motd net.fetch https://mirror.example/x required
  dibw policy explain ./motd.wasm service.set enable ssh.service --policy site.yaml
  dibw policy explain debootstrap --classic        level of its shell hooks on each side, and which rule says so")]
pub struct Args {
    /// The element: a name on the elements path, a directory, or a .wasm file
    element: String,

    /// The capability
    #[arg(required_unless_present = "classic", conflicts_with = "classic")]
    capability: Option<String>,

    /// What for: a path, a unit and what is done to it, a command line, a URL ...
    #[arg(value_name = "SUBJECT")]
    subject: Vec<String>,

    /// Explain how its shell hooks are caged
    #[arg(long)]
    classic: bool,

    /// Policy file; it narrows the site's
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Take these files for the site's policy (repeatable)
    #[arg(long, value_name = "FILE|DIR")]
    site: Vec<PathBuf>,

    /// As with `dibw build` (repeatable)
    #[arg(long = "grant", value_name = "ELEMENT:CAPABILITY=VALUE")]
    grants: Vec<String>,
}

/// Prints to standard output.
pub fn run(args: &Args) -> Outcome {
    let policy = policy(args)?;
    let element = element(&args.element)?;
    match &args.capability {
        None => classic(&element, &policy),
        Some(capability) => typed(&element, capability, args, &policy)?,
    }
    Ok(())
}

fn policy(args: &Args) -> Result<Policy, Faults> {
    if args.site.is_empty() {
        return crate::policy_files::in_force(args.policy.as_deref());
    }
    let site =
        Policy::of_site(crate::policy_files::named(&args.site)?).map_err(crate::policy_files::of_policy)?;
    match &args.policy {
        None => Ok(site),
        Some(file) => {
            site.narrowed_by(crate::policy_files::read(file)?).map_err(crate::policy_files::of_policy)
        }
    }
}

/// The element, by name or path.
pub fn element(named: &str) -> Result<Element, Faults> {
    let is_path = named.contains('/') || named.ends_with(".wasm");
    let given: Vec<PathBuf> = is_path.then(|| PathBuf::from(named)).into_iter().collect();
    let path = dibw_engine::catalogue::elements_path()?;
    let mut catalogue = dibw_engine::catalogue::read(&path, &given)?;
    let name = if is_path { dibw_engine::catalogue::name_of(Path::new(named)) } else { named.to_owned() };
    if let Some(faults) = catalogue.broken.remove(&name) {
        return Err(faults);
    }
    catalogue.elements.remove(&name).ok_or_else(|| {
        let known = catalogue.elements.keys().map(String::as_str);
        Fault::new(FaultKind::Element, format!("Element '{name}' not found")).suggest(&name, known).into()
    })
}

fn classic(element: &Element, policy: &Policy) {
    let identity = element.identity();
    println!("{}  classic  tree sha256:{}", subject::escape(&element.name), element.digest);
    for (side, word) in [(Side::Outside, "outside"), (Side::Inside, "inside")] {
        let cage = confinement_of(&identity, side, policy);
        println!("  {word:<8} {:<9} {}", cage.level.to_string(), cage.why);
        if let Some(net) = &cage.net {
            println!("           network only to {}", net.join(", "));
        }
        if let Some(env) = &cage.env {
            println!("           variables only {}", env.join(", "));
        }
    }
}

fn typed(element: &Element, capability: &str, args: &Args, policy: &Policy) -> Result<(), Faults> {
    let usage = |said: String| Fault::new(FaultKind::Usage, said);
    let capability: Capability = capability.parse().map_err(usage)?;
    let Some(component) = &element.typed else {
        let message = format!("{} is a shell element: it has no capabilities, only a level", element.name);
        let hint = format!("dibw policy explain {} --classic", element.name);
        return Err(Fault::new(FaultKind::Usage, message).hint(hint).into());
    };
    let mut grants = Vec::new();
    for text in &args.grants {
        let grant: Grant = text.parse().map_err(|said| usage(format!("--grant {text}: {said}")))?;
        if let Some((message, hint)) = policy.refuse_grant(&grant) {
            return Err(Fault::new(FaultKind::Policy, message).hint(hint).into());
        }
        grants.push(grant);
    }
    let identity = element.identity();
    let effective = Effective::new(&identity, &component.manifest.needs, policy, &grants);
    let question = Question::new(capability, &args.subject);
    let explanation = question.ask(&effective).map_err(usage)?;
    let admission = admit(&identity, policy);
    let word = match (&admission, explanation.decision()) {
        (Admission::Refused { .. }, _) | (_, Decision::Deny(_)) => "DENIED",
        (Admission::Admitted { .. }, Decision::Allow { .. }) => "ALLOWED",
        (Admission::Admitted { .. }, Decision::WouldDeny(_)) => "WOULD BE DENIED (mode: audit)",
        (Admission::Admitted { .. }, Decision::Malformed { .. }) => "MALFORMED",
    };
    println!("{word}  {}  {capability}  {}", identity.shown(), subject::escape(&args.subject.join(" ")));
    if let Admission::Refused { rule, hint } = admission {
        println!("  trust    no    {rule}");
        println!("  to let it take part: {hint}");
    }
    print(&explanation);
    Ok(())
}

fn print(explanation: &Explanation) {
    match explanation {
        Explanation::Malformed { message } => println!("  it makes no sense: {message}"),
        Explanation::Impossible { rule, .. } => println!("  no policy can allow it: {rule}"),
        Explanation::Judged { verdicts, .. } => {
            for verdict in verdicts {
                if verdicts.len() > 1 {
                    println!(" {} {}", verdict.capability, subject::escape(&verdict.subject));
                }
                print_verdict(verdict);
            }
            print_fixes(explanation);
        }
    }
}

fn print_verdict(verdict: &Verdict) {
    for answer in &verdict.answers {
        let word = if answer.passed { "yes" } else { "no" };
        let place = answer.place.as_ref().map(|place| format!("   {}:{}", place.file, place.line));
        println!("  {:<8} {word:<5} {}{}", answer.gate.name(), answer.reason, place.unwrap_or_default());
    }
    if verdict.refusals().next().is_some() {
        println!("  why it matters: {} (risk {})", verdict.capability.reason(), verdict.capability.risk());
    }
}

fn print_fixes(explanation: &Explanation) {
    let Explanation::Judged { verdicts, .. } = explanation else { return };
    let refusals: Vec<&Answer> = verdicts.iter().flat_map(Verdict::refusals).collect();
    if refusals.is_empty() {
        return;
    }
    if let Some(never) = refusals.iter().find(|answer| answer.gate == Gate::Never) {
        println!("  nothing allows it: {}", never.reason);
        return;
    }
    let fixes = explanation.fixes();
    match fixes.len() {
        0 => println!("  nothing is proposed: a value that covers it would cover more"),
        1 => println!("  to allow it:"),
        count => println!("  to allow it (all {count} lines are needed):"),
    }
    for fix in &fixes {
        match (fix, fix.as_yaml()) {
            (_, Some((at, yaml))) => println!("    {}: {yaml}   # in {}", at.key, at.file),
            (Fix::Need { line }, None) => println!("    needs! {{ {line} }}   # in the element"),
            (other, None) => println!("    {other}"),
        }
    }
}
