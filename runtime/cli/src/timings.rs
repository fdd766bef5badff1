//! The table of `dibw build --timings`: what took how long. Knows steps as the engine records them; decides nothing.

use std::time::Duration;

use dibw_engine::Cached;
use dibw_engine::report::{StepRecord, saved};

/// Steps by time, the longest first, then the sums of the phases in their order.
pub fn table(steps: &[StepRecord], took: Duration) -> String {
    let mut lines = vec![format!("{:>9} {:>6}  {:<14} {:<20} STEP", "TIME", "SHARE", "PHASE", "ELEMENT")];
    let line = |spent: Duration, phase: &str, element: &str, title: &str| {
        let share = 100.0 * spent.as_secs_f64() / took.as_secs_f64().max(0.001);
        let line = format!(
            "{:>8.2}s {share:>5.1}%  {:<14} {element:<20} {title}",
            spent.as_secs_f64(),
            or_dash(phase)
        );
        line.trim_end().to_owned()
    };
    let mut longest: Vec<&StepRecord> = steps.iter().collect();
    longest.sort_by(|left, right| right.took.cmp(&left.took).then(left.number.cmp(&right.number)));
    for step in longest {
        let cached = match &step.cache {
            Cached::Hit { saved } => format!("  (cached, took {:.2}s then)", saved.as_secs_f64()),
            Cached::Miss { .. } | Cached::No => String::new(),
        };
        lines.push(line(step.took, &step.phase, or_dash(&step.element), &format!("{}{cached}", step.title)));
    }
    lines.push(String::new());
    let mut phases: Vec<(&str, Duration)> = Vec::new();
    for step in steps {
        match phases.iter_mut().find(|(phase, _)| *phase == step.phase) {
            Some((_, sum)) => *sum += step.took,
            None => phases.push((&step.phase, step.took)),
        }
    }
    lines.extend(phases.into_iter().map(|(phase, sum)| line(sum, phase, "", "")));
    let all: Duration = steps.iter().map(|step| step.took).sum();
    lines.push(line(all, "all steps", "", ""));
    lines.push(line(took, "the build", "", ""));
    let hits = steps.iter().filter(|step| matches!(step.cache, Cached::Hit { .. })).count();
    if hits > 0 {
        let saved = saved(steps);
        let steps = if hits == 1 { "step" } else { "steps" };
        lines.push(format!("{hits} {steps} cached, {:.2}s saved", saved.as_secs_f64()));
    }
    lines.join("\n")
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: usize, phase: &str, element: &str, seconds: u64, cache: Cached) -> StepRecord {
        StepRecord {
            number,
            phase: phase.to_owned(),
            element: element.to_owned(),
            title: format!("step-{number}"),
            start: Duration::ZERO,
            took: Duration::from_secs(seconds),
            cache,
        }
    }

    #[test]
    fn the_longest_comes_first_and_phases_are_summed() {
        let steps = [
            step(1, "root", "debian", 1, Cached::Hit { saved: Duration::from_secs(30) }),
            step(2, "install", "vim", 5, Cached::No),
            step(3, "install", "", 3, Cached::Miss { reason: "new".to_owned() }),
            step(4, "", "", 1, Cached::No),
        ];
        let expected = "     TIME  SHARE  PHASE          ELEMENT              STEP
    5.00s  25.0%  install        vim                  step-2
    3.00s  15.0%  install        -                    step-3
    1.00s   5.0%  root           debian               step-1  (cached, took 30.00s then)
    1.00s   5.0%  -              -                    step-4

    1.00s   5.0%  root
    8.00s  40.0%  install
    1.00s   5.0%  -
   10.00s  50.0%  all steps
   20.00s 100.0%  the build
1 step cached, 29.00s saved";
        assert_eq!(table(&steps, Duration::from_secs(20)), expected);
    }
}
