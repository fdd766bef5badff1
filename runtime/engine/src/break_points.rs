//! Break points: shells for people who look into a build, where `break` asks for them. Facts: compat/CONTRACT.md section 1.7.

use dibw_plan::{Confinement, Phase, Side, Step};

use crate::events::Level;
use crate::failure::Failure;
use crate::machine::{Inside, Outside};
use crate::run::Build;
use crate::scripts::{IN_TARGET, Lines};

/// Before or after a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before its first step.
    Before,
    /// After its last one.
    After,
}

impl Build<'_> {
    /// Opens a shell if one is wanted at this point. Its failure ends the build, as it always did.
    pub(crate) fn break_at(&mut self, moment: Moment, phase: Phase) -> Result<(), Failure> {
        let word = match moment {
            Moment::Before => "before",
            Moment::After => "after",
        };
        let point = format!("{word}-{phase}");
        if !self.breaks(&point) {
            return Ok(());
        }
        // Only the shell before an outside phase can be another command.
        let command = match (moment, phase.side()) {
            (Moment::Before, Side::Outside) => self.break_command(),
            _ => "bash".to_owned(),
        };
        self.shell(&point, phase, phase.side(), &command)
    }

    /// The same after a step failed, in the target unless `break_outside_target` is set. What the shell does changes nothing about the
    /// failure.
    pub(crate) fn break_after_error(&mut self, phase: Phase) -> Result<(), Failure> {
        if !self.breaks("after-error") || self.machine.borrow().interrupted() {
            return Ok(());
        }
        let outside = self.setting("break_outside_target").is_some() || !self.has_shell();
        let side = if outside { Side::Outside } else { Side::Inside };
        let command = self.break_command();
        if let Err(failure) = self.shell("after-error", phase, side, &command) {
            self.message(Level::Debug, "", format!("the debug shell: {failure}"));
        }
        Ok(())
    }

    /// Whether somebody wants to look into the build.
    pub(crate) fn has_break_points(&self) -> bool {
        self.setting("break").is_some_and(|points| !points.is_empty())
    }

    fn breaks(&self, point: &str) -> bool {
        self.setting("break").is_some_and(|points| points.split(',').any(|known| known == point))
    }

    fn break_command(&self) -> String {
        self.setting("break_cmd").unwrap_or("bash").to_owned()
    }

    fn setting(&self, name: &str) -> Option<&str> {
        self.base_variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn has_shell(&self) -> bool {
        self.files().is_ok_and(|files| {
            ["/bin/bash", "/usr/bin/bash"].iter().any(|path| files.exists(path).unwrap_or(false))
        })
    }

    /// A shell, or a command, in the target before or after a step, as root there and with the network.
    pub(crate) fn look_around(&mut self, step: &Step, command: Option<&str>) -> Result<(), Failure> {
        let argv = match command {
            Some(command) => ["bash", "-c", command].map(str::to_owned).to_vec(),
            None => vec!["bash".to_owned()],
        };
        let inside = Inside {
            argv,
            env: self.inside_variables(),
            interactive: true,
            network: !self.plan.offline,
            read_only: vec![(self.hooks.clone(), IN_TARGET.to_owned())],
            ..Inside::default()
        };
        let ending = self.inside(&inside, &mut Lines::new())?;
        let what = format!("the shell at {}", crate::layers::step_title(step));
        Lines::new().judge(&what, ending).map(drop)
    }

    fn shell(&mut self, point: &str, phase: Phase, side: Side, command: &str) -> Result<(), Failure> {
        for line in ["Starting debug shell. Exit to resume building.", &format!("At stage {point}")] {
            self.message(Level::Info, "", line);
        }
        let argv = ["bash", "-c", command].map(str::to_owned).to_vec();
        let ending = match side {
            Side::Inside => {
                let command = Inside {
                    argv,
                    env: self.inside_variables(),
                    interactive: true,
                    network: !self.plan.offline,
                    image_devices: phase == Phase::Finalise,
                    read_only: vec![(self.hooks.clone(), IN_TARGET.to_owned())],
                    ..Inside::default()
                };
                self.inside(&command, &mut Lines::new())?
            }
            Side::Outside => {
                // Whoever asked for it is root here already, and wants to see and keep things.
                let confinement = Confinement::Host;
                let command =
                    Outside { argv, interactive: true, confinement, ..self.outside_command(phase)? };
                self.outside(&command, &mut Lines::new())?
            }
        };
        self.message(Level::Info, "", "Resuming");
        Lines::new().judge(&format!("the debug shell at {point}"), ending).map(drop)
    }
}
