//! Globs: `*` and `?` within a component, `**` as a whole component across components. Nothing else is special.
//!
//! Matching takes at most (length of pattern) x (length of text) steps: no regular expression, no recursion, so that a
//! hostile pattern costs nothing. Tested against a naive reference.
//! Callers: [`crate::need`], [`crate::class`].

/// A path glob (or path), parsed into components.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathGlob {
    components: Vec<String>,
}

/// What a path glob is asked to cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The entry with this path.
    Entry,
    /// The directory with this path: also covered by globs for all entries right below it.
    Directory,
    /// Everything with and below this path.
    Tree,
}

impl PathGlob {
    /// Parses an absolute glob.
    ///
    /// # Errors
    /// Says what is wrong: not absolute, `..`, `**` beside other characters, characters with a meaning elsewhere.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("`{text}` is not an absolute path"));
        };
        let components: Vec<String> =
            rest.split('/').filter(|c| !c.is_empty() && *c != ".").map(str::to_owned).collect();
        for component in &components {
            if component == ".." {
                return Err(format!("`{text}` contains `..`"));
            }
            if component.contains("**") && component != "**" {
                return Err(format!("`{text}`: `**` must stand alone between slashes"));
            }
            if let Some(found) = component.chars().find(|c| "[]{}\\\0\n".contains(*c)) {
                return Err(format!(
                    "`{}`: `{}` is not supported, only `*`, `**` and `?` are",
                    text.escape_debug(),
                    found.escape_debug()
                ));
            }
        }
        Ok(PathGlob { components })
    }

    /// Whether `path` (normalised, absolute) is covered to this extent.
    pub fn covers(&self, path: &str, extent: Extent) -> bool {
        let path: Vec<&str> = path.split('/').filter(|c| !c.is_empty()).collect();
        match extent {
            Extent::Entry => self.matches(&path),
            Extent::Directory => self.matches(&path) || self.matches_all_below(&path, &["*", "**"]),
            Extent::Tree => self.matches_tree(&path),
        }
    }

    /// Whether something strictly below `path` could match.
    pub fn reaches_below(&self, path: &str) -> bool {
        let path: Vec<&str> = path.split('/').filter(|c| !c.is_empty()).collect();
        let states = self.states_after(&path);
        states[..self.components.len()].contains(&true)
    }

    /// Whether every path that `other` covers is covered. Sound, not complete: `false` may mean "cannot tell".
    pub fn contains(&self, other: &PathGlob) -> bool {
        let path: Vec<&str> = other.components.iter().map(String::as_str).collect();
        self.matches(&path)
    }

    fn matches(&self, path: &[&str]) -> bool {
        self.states_after(path)[self.components.len()]
    }

    fn matches_tree(&self, path: &[&str]) -> bool {
        // `Q/**` covers the tree at `path` when Q covers path, or one of its ancestors.
        (0..=path.len()).any(|end| self.matches_all_below(&path[..end], &["**"]))
    }

    fn matches_all_below(&self, path: &[&str], tails: &[&str]) -> bool {
        let Some((last, head)) = self.components.split_last() else {
            return false;
        };
        tails.contains(&last.as_str()) && PathGlob { components: head.to_vec() }.matches(path)
    }

    /// Which positions in the pattern are reachable after consuming `path`: entry i means that the first i components are used up.
    fn states_after(&self, path: &[&str]) -> Vec<bool> {
        let count = self.components.len();
        let mut states = vec![false; count + 1];
        states[0] = true;
        self.skip_empty(&mut states);
        for name in path {
            let mut next = vec![false; count + 1];
            for (i, component) in self.components.iter().enumerate().filter(|(i, _)| states[*i]) {
                if component == "**" {
                    next[i] = true;
                    next[i + 1] = true;
                } else if *name != "**" && word_matches(component, name) {
                    next[i + 1] = true;
                }
            }
            self.skip_empty(&mut next);
            states = next;
        }
        states
    }

    /// A `**` that is not last may stand for no component at all; a last one stands for at least one.
    fn skip_empty(&self, states: &mut [bool]) {
        for (i, component) in self.components.iter().enumerate() {
            if states[i] && component == "**" && i + 1 < self.components.len() {
                states[i + 1] = true;
            }
        }
    }
}

impl std::fmt::Display for PathGlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}", self.components.join("/"))
    }
}

/// Whether `text` matches `pattern` in which `*` is any run of characters and `?` any one character.
///
/// A `*` in `text` is only matched by `*`, so that pattern containment can be asked with the same function.
pub fn word_matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where the last `*` was and how much text it has taken so far: earlier stars never need a second look.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == text[t] || (pattern[p] == '?' && text[t] != '*')) {
            p += 1;
            t += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            p = at + 1;
            t = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive_word(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some(b'*'), _) => {
                naive_word(&pattern[1..], text) || (!text.is_empty() && naive_word(pattern, &text[1..]))
            }
            (Some(b'?'), Some(c)) => *c != b'*' && naive_word(&pattern[1..], &text[1..]),
            (Some(p), Some(t)) => p == t && naive_word(&pattern[1..], &text[1..]),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    fn naive_path(pattern: &[&str], path: &[&str]) -> bool {
        match pattern {
            [] => path.is_empty(),
            ["**"] => !path.is_empty(),
            ["**", rest @ ..] => (0..=path.len()).any(|n| naive_path(rest, &path[n..])),
            [first, rest @ ..] => {
                !path.is_empty()
                    && naive_word(first.as_bytes(), path[0].as_bytes())
                    && naive_path(rest, &path[1..])
            }
        }
    }

    /// Every string over `alphabet` up to `longest` long.
    fn words(alphabet: &[&'static str], longest: usize) -> Vec<Vec<&'static str>> {
        let mut all = vec![vec![]];
        let mut last = vec![vec![]];
        for _ in 0..longest {
            last = last
                .iter()
                .flat_map(|w: &Vec<&str>| {
                    alphabet.iter().map(|a| w.iter().copied().chain([*a]).collect::<Vec<&str>>())
                })
                .collect();
            all.extend(last.clone());
        }
        all
    }

    #[test]
    fn words_agree_with_the_naive_reference() {
        let texts = words(&["a", "b"], 6);
        for pattern in words(&["a", "b", "*", "?"], 4) {
            let pattern = pattern.concat();
            for text in &texts {
                let text = text.concat();
                let expected = naive_word(pattern.as_bytes(), text.as_bytes());
                assert_eq!(word_matches(&pattern, &text), expected, "{pattern} {text}");
            }
        }
    }

    #[test]
    fn paths_agree_with_the_naive_reference() {
        let paths = words(&["a", "b", "ab"], 5);
        for pattern in words(&["a", "*b", "*", "**"], 4) {
            let glob = PathGlob::parse(&format!("/{}", pattern.join("/"))).unwrap();
            for path in &paths {
                let text = format!("/{}", path.join("/"));
                assert_eq!(glob.covers(&text, Extent::Entry), naive_path(&pattern, path), "{glob} {text}");
                let below = paths
                    .iter()
                    .any(|p| p.len() > path.len() && p.starts_with(path) && naive_path(&pattern, p));
                if path.len() < 3 {
                    assert!(glob.reaches_below(&text) || !below, "{glob} below {text}");
                }
            }
        }
    }

    #[test]
    fn tree_and_directory_extents() {
        let cases = [
            ("/etc/**", "/etc/ssh", Extent::Tree, true),
            ("/etc/**", "/etc", Extent::Tree, true),
            ("/etc/**", "/", Extent::Tree, false),
            ("/etc/*", "/etc/ssh", Extent::Tree, false),
            ("/etc/ssh", "/etc/ssh", Extent::Tree, false),
            ("/etc/*", "/etc", Extent::Directory, true),
            ("/etc/**", "/etc", Extent::Directory, true),
            ("/etc/**", "/etc", Extent::Entry, false),
            ("/etc/*.conf", "/etc", Extent::Directory, false),
            ("/etc/**", "/etcetera", Extent::Directory, false),
            ("/**", "/", Extent::Tree, true),
        ];
        for (pattern, path, extent, expected) in cases {
            assert_eq!(
                PathGlob::parse(pattern).unwrap().covers(path, extent),
                expected,
                "{pattern} {path} {extent:?}"
            );
        }
    }

    #[test]
    fn containment_is_sound() {
        let cases = [
            ("/etc/**", "/etc/ssh/*.conf", true),
            ("/etc/**", "/etc/**", true),
            ("/etc/*", "/etc/**", false),
            ("/etc/?", "/etc/*", false),
            ("/etc/*", "/etc/?x", true),
            ("/opt/**", "/etc/x", false),
        ];
        for (outer, inner, expected) in cases {
            let (outer, inner) = (PathGlob::parse(outer).unwrap(), PathGlob::parse(inner).unwrap());
            assert_eq!(outer.contains(&inner), expected, "{outer} {inner}");
        }
    }

    #[test]
    fn hostile_patterns_cost_nothing() {
        let text = "a".repeat(4_000);
        assert!(!word_matches(&format!("{}b", "*a".repeat(500)), &text));
        let deep = "/a".repeat(2_000);
        assert!(!PathGlob::parse(&format!("{}/b", "/**".repeat(100))).unwrap().covers(&deep, Extent::Entry));
    }

    #[test]
    fn bad_globs() {
        for (text, said) in [
            ("etc", "`etc` is not an absolute path"),
            ("/a/../b", "`/a/../b` contains `..`"),
            ("/a**", "`/a**`: `**` must stand alone between slashes"),
            ("/[ab]", "`/[ab]`: `[` is not supported, only `*`, `**` and `?` are"),
        ] {
            assert_eq!(PathGlob::parse(text).unwrap_err(), said);
        }
    }
}
