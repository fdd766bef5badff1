//! The checks of `dib-lint` on the files of elements and of a shell library, in memory. The reading, git and flake8 are the command
//! line's. Facts: compat/CONTRACT.md section 3.5, and its verdicts on one broken element for each rule.

mod documents;
mod exclusions;
mod pitfalls;
mod scripts;
mod text;

pub use exclusions::Exclusions;

/// Where a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// In an element.
    Element,
    /// In a shell library, of which only the form of the text is checked.
    Library,
}

/// A file to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintFile {
    /// Its path as the user knows it.
    pub path: String,
    /// Where it lies.
    pub room: Room,
    /// Whether somebody may execute it.
    pub executable: bool,
    /// A symbolic link, of which only the name is looked at.
    pub link: bool,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file or element directory.
    pub path: String,
    /// Line, from 1; 0 when it concerns the whole file.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Keys that switch a check off, for a file or for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// No key: the check is always on.
    Always,
    /// By this name.
    Named(&'static str),
}

/// All findings in one file, in the order of its lines. `everywhere` are the keys of `tox.ini`.
pub fn check(file: &LintFile, everywhere: &Exclusions) -> Vec<Finding> {
    let text = String::from_utf8_lossy(&file.content);
    let mut subject = Subject {
        file,
        name: file.path.rsplit('/').next().unwrap_or_default(),
        text: &text,
        excluded: everywhere.with(Exclusions::of_file(&text)),
        findings: Vec::new(),
    };
    match (file.room, file.link) {
        (Room::Element, true) => documents::markdown(&mut subject),
        (Room::Element, false) => {
            documents::check(&mut subject);
            if !["yaml", "py", "rst"].contains(&subject.extension()) {
                scripts::check(&mut subject);
                pitfalls::check(&mut subject);
            }
            if subject.extension() == "rst" || file.executable {
                text::check(&mut subject);
            }
        }
        (Room::Library, true) => {}
        (Room::Library, false) => text::check(&mut subject),
    }
    let mut findings = subject.findings;
    findings.sort();
    findings
}

/// The finding that an element without `README.rst` is.
pub fn without_readme(element: &str) -> Finding {
    Finding {
        path: element.to_owned(),
        line: 0,
        message: "README.rst is missing".to_owned(),
        hint: "say in it what the element is for and which variables it reads".to_owned(),
    }
}

/// Whether flake8 has something to say about a file: a Python script without the extension, which other tools would miss.
pub fn is_python_script(file: &LintFile) -> bool {
    let text = String::from_utf8_lossy(&file.content);
    file.room == Room::Element && !file.link && !file.path.ends_with(".py") && scripts::is_python(&text)
}

/// A file under check.
struct Subject<'a> {
    file: &'a LintFile,
    name: &'a str,
    text: &'a str,
    excluded: Exclusions,
    findings: Vec<Finding>,
}

impl<'a> Subject<'a> {
    /// What follows the last dot of its name.
    fn extension(&self) -> &'a str {
        self.name.rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// Its directory, `/` at the end.
    fn directory(&self) -> &'a str {
        &self.file.path[..self.file.path.len() - self.name.len()]
    }

    /// Lines with their numbers.
    fn lines(&self) -> impl Iterator<Item = (usize, &'a str)> + use<'a> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Lines as a shell has them: one that ends in a backslash goes on in the next. With the number of the first.
    fn joined_lines(&self) -> Vec<(usize, String)> {
        let mut joined: Vec<(usize, String)> = Vec::new();
        let mut open = false;
        for (number, line) in self.lines() {
            let (part, more) = match line.strip_suffix('\\') {
                Some(part) => (part, true),
                None => (line, false),
            };
            match joined.last_mut().filter(|_| open) {
                Some((_, whole)) => whole.push_str(part),
                None => joined.push((number, part.to_owned())),
            }
            open = more;
        }
        joined
    }

    /// Adds a finding unless its key is excluded.
    fn find(&mut self, key: Key, line: usize, message: impl Into<String>, hint: impl Into<String>) {
        if let Key::Named(name) = key
            && self.excluded.has(name)
        {
            return;
        }
        let path = self.file.path.clone();
        self.findings.push(Finding { path, line, message: message.into(), hint: hint.into() });
    }
}
