//! Programs of the host that write or move outputs: how they are run and how their failure is told. Knows no program.

use std::collections::VecDeque;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::events::{Event, printable};
use crate::machine::{Ending, HostTool};
use crate::run::Build;

/// How many of its last lines an error carries.
const TAIL: usize = 20;

impl Build<'_> {
    /// Runs a program to its end and demands success. In what it says, a name that is only ours (`/proc/...`) is replaced.
    pub(super) fn run_tool(&self, tool: &HostTool, names: &[(&Path, &Path)]) -> Result<()> {
        let named = |text: &str| {
            names.iter().fold(text.to_owned(), |text, (ours, theirs)| {
                text.replace(&ours.display().to_string(), &theirs.display().to_string())
            })
        };
        let mut tail = VecDeque::new();
        let command = named(&tool.argv.join(" "));
        let started = self.machine().tool(tool, &mut |_, line| {
            let line = printable(&named(line));
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(line.clone());
            self.tell(Event::Output { line });
        });
        let how = match started.with_context(|| command.clone())? {
            Ending::Exited(0) => return Ok(()),
            Ending::Exited(status) => format!("exit status {status}"),
            Ending::Signalled(signal) => format!("killed by signal {signal}"),
            Ending::TimedOut => "time limit reached".to_owned(),
            Ending::Interrupted => "interrupted".to_owned(),
            Ending::Exceeded(exceeded) => exceeded.to_string(),
        };
        let said: String = tail.iter().map(|line| format!("\n  {line}")).collect();
        bail!("{command}: {how}{said}")
    }
}
