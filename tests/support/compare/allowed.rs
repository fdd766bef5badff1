//! The list of differences that are allowed, each with its reason: `GLOB  ASPECTS  # WHY`.
//!
//! In a glob `*` stands for any characters, `/` too, and `?` for one. Aspects are separated by commas: names of
//! [`Aspect`], `any`, or `content=GLOB`: contents may differ in lines like that alone, or like that of another such line for the
//! same path (`?` for a space).

use anyhow::{Context, Result, bail, ensure};
use dibw_policy::glob::word_matches;

use super::{Aspect, Difference};

const ASPECTS: [Aspect; 11] = [
    Aspect::OnlyA,
    Aspect::OnlyB,
    Aspect::Type,
    Aspect::Mode,
    Aspect::Owner,
    Aspect::Link,
    Aspect::Attributes,
    Aspect::Device,
    Aspect::HardLinks,
    Aspect::Content,
    Aspect::Order,
];

/// The parsed list.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    path: String,
    what: Vec<What>,
}

#[derive(Debug, Clone)]
enum What {
    Any,
    Aspect(Aspect),
    Lines(String),
}

impl Allowed {
    /// Parses a list, and adds it to what is allowed already.
    ///
    /// # Errors
    /// Names the line that is wrong.
    pub fn and(mut self, text: &str) -> Result<Self> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        for (index, line) in lines {
            self.rules.push(rule(line).with_context(|| format!("line {}: {line}", index + 1))?);
        }
        Ok(self)
    }

    /// A list alone.
    ///
    /// # Errors
    /// As [`Allowed::and`].
    pub fn parse(text: &str) -> Result<Self> {
        Self::default().and(text)
    }

    /// Whether some rule covers the difference.
    #[must_use]
    pub fn covers(&self, difference: &Difference) -> bool {
        let matching = self.rules.iter().filter(|rule| word_matches(&rule.path, &difference.path));
        let whats: Vec<&What> = matching.flat_map(|rule| &rule.what).collect();
        let alike = |line: &String| {
            whats.iter().any(|what| matches!(what, What::Lines(glob) if word_matches(glob, line)))
        };
        whats.iter().any(|what| match what {
            What::Any => true,
            What::Aspect(aspect) => *aspect == difference.aspect,
            What::Lines(_) => {
                let lines = difference.lines.as_ref();
                difference.aspect == Aspect::Content && lines.is_some_and(|lines| lines.iter().all(alike))
            }
        })
    }
}

fn rule(line: &str) -> Result<Rule> {
    let (rule, why) = line.split_once(" # ").context("no reason: put `# why` at its end")?;
    ensure!(!why.trim().is_empty(), "the reason is empty");
    let words: Vec<&str> = rule.split_whitespace().collect();
    let [path, what] = words.as_slice() else { bail!("want GLOB ASPECTS # WHY") };
    let what = what.split(',').map(aspect).collect::<Result<_>>()?;
    Ok(Rule { path: (*path).to_owned(), what })
}

fn aspect(word: &str) -> Result<What> {
    if let Some(glob) = word.strip_prefix("content=") {
        return Ok(What::Lines(glob.to_owned()));
    }
    if word == "any" {
        return Ok(What::Any);
    }
    let known = ASPECTS.into_iter().find(|aspect| aspect.name() == word);
    known.map(What::Aspect).with_context(|| format!("no aspect is called {word}"))
}
