//! What kind of step a step is, for those that walk a plan.

use dibw_plan::{Action, Phase, Step};

/// The phase that a step belongs to or comes after.
pub(crate) fn place(step: &Step) -> Phase {
    let after = match step.action {
        Action::PrepareTarget => Phase::Root,
        Action::ReportUsage { .. } => Phase::PostRoot,
        Action::CreateDisk => Phase::BlockDevice,
        Action::Environment { .. }
        | Action::Script { .. }
        | Action::Hook
        | Action::Packages { .. }
        | Action::InstallBin
        | Action::InstallStatic
        | Action::InstallServiceMap { .. }
        | Action::CleanTarget
        | Action::FinishDisk
        | Action::PackageManifest
        | Action::Output { .. } => Phase::Cleanup,
    };
    step.phase.unwrap_or(after)
}

/// Whether a step makes the disk or outputs.
pub(crate) fn is_of_outputs(action: &Action) -> bool {
    match action {
        Action::CreateDisk | Action::FinishDisk | Action::PackageManifest | Action::Output { .. } => true,
        Action::Environment { .. }
        | Action::Script { .. }
        | Action::Hook
        | Action::Packages { .. }
        | Action::PrepareTarget
        | Action::InstallBin
        | Action::InstallStatic
        | Action::InstallServiceMap { .. }
        | Action::CleanTarget
        | Action::ReportUsage { .. } => false,
    }
}

/// Whether a step may write to the target before it is on the disk.
pub(crate) fn changes_target(action: &Action) -> bool {
    match action {
        Action::Script { .. }
        | Action::Hook
        | Action::Packages { .. }
        | Action::PrepareTarget
        | Action::InstallBin
        | Action::InstallStatic
        | Action::InstallServiceMap { .. }
        | Action::CleanTarget => true,
        Action::Environment { .. }
        | Action::ReportUsage { .. }
        | Action::CreateDisk
        | Action::FinishDisk
        | Action::PackageManifest
        | Action::Output { .. } => false,
    }
}
