//! Command lines as GNU `getopt(1)` reads them: operands anywhere, long options abbreviated, `--name=value`, `-ovalue`, `--`.
//! Messages are getopt's own. Called by the parsers of diskimage-builder's commands.

/// An option that a command knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// After `-`.
    pub short: Option<char>,
    /// After `--`.
    pub long: Option<&'static str>,
    /// Whether it takes a value.
    pub value: bool,
}

/// An option as given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The option's place in the list of known ones.
    pub option: usize,
    /// Its value.
    pub value: Option<String>,
}

/// A command line, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// Options in the order given.
    pub options: Vec<Given>,
    /// Everything else.
    pub operands: Vec<String>,
}

/// Reads `arguments` (without the program's name).
///
/// # Errors
/// The first thing that is wrong, in getopt's words.
pub fn parse(arguments: &[String], known: &[Known]) -> Result<Line, String> {
    let mut line = Line::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            line.operands.extend(rest.by_ref().cloned());
        } else if let Some(long) = argument.strip_prefix("--") {
            let given = long_option(long, known, &mut rest)?;
            line.options.push(given);
        } else if argument.len() > 1 && argument.starts_with('-') {
            short_options(&argument[1..], known, &mut rest, &mut line.options)?;
        } else {
            line.operands.push(argument.clone());
        }
    }
    Ok(line)
}

fn long_option<'a>(
    text: &str,
    known: &[Known],
    rest: &mut impl Iterator<Item = &'a String>,
) -> Result<Given, String> {
    let (name, inline) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    let named = |(index, option): (usize, &Known)| Some((index, option.long?));
    let mut matching: Vec<(usize, &str)> = known.iter().enumerate().filter_map(named).collect();
    matching.retain(|(_, long)| long.starts_with(name));
    if let Some(exact) = matching.iter().copied().find(|(_, long)| *long == name) {
        matching = vec![exact];
    }
    let (option, long) = match matching.as_slice() {
        [] => return Err(format!("unrecognized option '--{name}'")),
        [one] => *one,
        several => {
            let names: Vec<String> = several.iter().map(|(_, long)| format!("'--{long}'")).collect();
            return Err(format!("option '--{name}' is ambiguous; possibilities: {}", names.join(" ")));
        }
    };
    let value = match (known[option].value, inline) {
        (false, None) => None,
        (false, Some(_)) => return Err(format!("option '--{long}' doesn't allow an argument")),
        (true, Some(value)) => Some(value),
        (true, None) => {
            let next = rest.next().ok_or_else(|| format!("option '--{long}' requires an argument"))?;
            Some(next.clone())
        }
    };
    Ok(Given { option, value })
}

/// A cluster of short options; the first that takes a value takes the rest of it.
fn short_options<'a>(
    cluster: &str,
    known: &[Known],
    rest: &mut impl Iterator<Item = &'a String>,
    options: &mut Vec<Given>,
) -> Result<(), String> {
    for (at, letter) in cluster.char_indices() {
        let found = known.iter().position(|option| option.short == Some(letter));
        let Some(option) = found else { return Err(format!("invalid option -- '{letter}'")) };
        if !known[option].value {
            options.push(Given { option, value: None });
            continue;
        }
        let inline = &cluster[at + letter.len_utf8()..];
        let value = match inline {
            "" => rest.next().ok_or_else(|| format!("option requires an argument -- '{letter}'"))?.clone(),
            inline => inline.to_owned(),
        };
        options.push(Given { option, value: Some(value) });
        return Ok(());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Known; 5] = [
        Known { short: Some('o'), long: None, value: true },
        Known { short: Some('x'), long: None, value: false },
        Known { short: None, long: Some("image-size"), value: true },
        Known { short: None, long: Some("image-cache"), value: true },
        Known { short: Some('h'), long: Some("help"), value: false },
    ];

    fn read(text: &str) -> Result<(Vec<String>, Vec<String>), String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let line = parse(&words, &KNOWN)?;
        let shown = |given: &Given| format!("{}{}", given.option, given.value.as_deref().unwrap_or_default());
        Ok((line.options.iter().map(shown).collect(), line.operands))
    }

    #[test]
    fn what_getopt_takes() {
        for (text, options, operands) in [
            ("a -o n b", vec!["0n"], vec!["a", "b"]),
            ("-xon b", vec!["1", "0n"], vec!["b"]),
            ("--image-s 3 --image-cache=/c --he", vec!["23", "3/c", "4"], vec![]),
            ("-x -- -o -x", vec!["1"], vec!["-o", "-x"]),
            ("- -x", vec!["1"], vec!["-"]),
        ] {
            let (read_options, read_operands) = read(text).unwrap();
            assert_eq!((read_options, read_operands), (owned(&options), owned(&operands)), "{text}");
        }
    }

    fn owned(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn what_it_refuses() {
        for (text, message) in [
            ("--frob", "unrecognized option '--frob'"),
            ("--image 3", "option '--image' is ambiguous; possibilities: '--image-size' '--image-cache'"),
            ("--help=yes", "option '--help' doesn't allow an argument"),
            ("--image-size", "option '--image-size' requires an argument"),
            ("-o", "option requires an argument -- 'o'"),
            ("-z", "invalid option -- 'z'"),
        ] {
            assert_eq!(read(text).unwrap_err(), message, "{text}");
        }
    }
}
