//! Globs against a naive reference: every alternative tried, recursively, as the words of the documentation say.
#![no_main]

use dibw_policy::glob::{Extent, PathGlob, word_matches};
use libfuzzer_sys::fuzz_target;

fn naive_word(pattern: &[char], text: &[char]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some('*'), _) => {
            naive_word(&pattern[1..], text) || (!text.is_empty() && naive_word(pattern, &text[1..]))
        }
        // A `*` in the text is a pattern itself, of which only `*` holds all.
        (Some('?'), Some(c)) => *c != '*' && naive_word(&pattern[1..], &text[1..]),
        (Some(p), Some(t)) => p == t && naive_word(&pattern[1..], &text[1..]),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn naive_path(pattern: &[&str], path: &[&str]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ["**"] => !path.is_empty(),
        ["**", rest @ ..] => (0..=path.len()).any(|n| naive_path(rest, &path[n..])),
        [first, rest @ ..] => path.split_first().is_some_and(|(name, below)| {
            naive_word(&chars(first), &chars(name)) && naive_path(rest, below)
        }),
    }
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

fn components(path: &str) -> Vec<&str> {
    path.split('/').filter(|name| !name.is_empty() && *name != ".").collect()
}

fuzz_target!(|input: (&str, &str, &str)| {
    let (pattern, path, tail) = input;
    // The reference takes exponential time.
    let stars = pattern.matches('*').count();
    if pattern.len() > 24 || path.len() > 24 || tail.len() > 12 || stars > 6 {
        return;
    }
    assert_eq!(word_matches(pattern, path), naive_word(&chars(pattern), &chars(path)), "{pattern:?} {path:?}");
    let Ok(glob) = PathGlob::parse(pattern) else { return };
    let names = components(path);
    // `..`, `*` and `**` are no names of files; the host refuses or escapes them before it asks.
    if names.iter().any(|name| *name == ".." || name.contains('*')) {
        return;
    }
    let path = format!("/{}", names.join("/"));
    let expected = naive_path(&components(pattern), &names);
    assert_eq!(glob.covers(&path, Extent::Entry), expected, "{glob} {path}");
    // What covers a tree covers everything in it, and the tree's root but for `X/**`.
    let below = [names, components(tail)].concat();
    if below.iter().any(|name| *name == ".." || name.contains('*')) || components(tail).is_empty() {
        return;
    }
    let below = format!("/{}", below.join("/"));
    if glob.covers(&path, Extent::Tree) {
        assert!(glob.covers(&below, Extent::Entry), "{glob} covers the tree {path} but not {below}");
        assert!(glob.covers(&below, Extent::Tree), "{glob} covers the tree {path} but not that of {below}");
    }
    if glob.covers(&below, Extent::Entry) {
        assert!(glob.reaches_below(&path), "{glob} covers {below} but does not reach below {path}");
    }
    if let Ok(inner) = PathGlob::parse(&below)
        && glob.contains(&inner)
        && !below.contains('?')
    {
        assert!(glob.covers(&below, Extent::Entry), "{glob} contains {inner} but does not cover it");
    }
});
