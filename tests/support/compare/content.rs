//! Compares the bytes of two files, and says of texts which lines differ.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};

use anyhow::{Context, Result};

use super::inventory::Content;

/// Lines shown of each side.
const SHOWN_LINES: usize = 3;
/// Characters shown of a line.
const SHOWN_CHARACTERS: usize = 160;
/// Larger files are not taken for text.
const LARGEST_TEXT: u64 = 16 << 20;

/// What came out.
pub(super) enum Verdict {
    Same,
    Reordered,
    Other { shown: String, lines: Option<Vec<String>> },
}

pub(super) fn compare(a: &Content, b: &Content) -> Result<Verdict> {
    let Some(at) = first_difference(a, b)? else { return Ok(Verdict::Same) };
    let sizes = format!("{} -> {} bytes, from byte {at}", size(a)?, size(b)?);
    let (Some(text_a), Some(text_b)) = (text(a)?, text(b)?) else {
        return Ok(Verdict::Other { shown: sizes, lines: None });
    };
    let (only_a, only_b) = (lines_without(&text_a, &text_b), lines_without(&text_b, &text_a));
    if only_a.is_empty() && only_b.is_empty() {
        return Ok(Verdict::Reordered);
    }
    let mut shown = sizes;
    for (sign, lines) in [('-', &only_a), ('+', &only_b)] {
        for line in lines.iter().take(SHOWN_LINES) {
            let line: String = line.chars().take(SHOWN_CHARACTERS).collect();
            shown.push_str(&format!("\n    {sign} {line}"));
        }
        if lines.len() > SHOWN_LINES {
            shown.push_str(&format!("\n    {sign} and {} lines more", lines.len() - SHOWN_LINES));
        }
    }
    let lines = only_a.into_iter().chain(only_b).collect();
    Ok(Verdict::Other { shown, lines: Some(lines) })
}

/// The lines of one text that the other has not, or not as often.
fn lines_without(text: &str, other: &str) -> Vec<String> {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for line in other.split('\n') {
        *left.entry(line).or_default() += 1;
    }
    let mut found = Vec::new();
    for line in text.split('\n') {
        match left.get_mut(line) {
            Some(count) if *count > 0 => *count -= 1,
            _ => found.push(line.to_owned()),
        }
    }
    found
}

fn open(content: &Content) -> Result<Box<dyn Read + '_>> {
    Ok(match content {
        Content::At(place) => {
            let file = File::open(place).with_context(|| place.display().to_string())?;
            Box::new(BufReader::with_capacity(1 << 18, file))
        }
        Content::Bytes(bytes) => Box::new(bytes.as_slice()),
    })
}

fn size(content: &Content) -> Result<u64> {
    Ok(match content {
        Content::At(place) => place.metadata().with_context(|| place.display().to_string())?.len(),
        Content::Bytes(bytes) => bytes.len() as u64,
    })
}

/// The text, if it is one.
fn text(content: &Content) -> Result<Option<String>> {
    if size(content)? > LARGEST_TEXT {
        return Ok(None);
    }
    let bytes = match content {
        Content::At(place) => fs::read(place).with_context(|| place.display().to_string())?,
        Content::Bytes(bytes) => bytes.clone(),
    };
    Ok(String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')))
}

/// Where they begin to differ.
fn first_difference(a: &Content, b: &Content) -> Result<Option<u64>> {
    let (mut a, mut b) = (open(a)?, open(b)?);
    let (mut block_a, mut block_b) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    let mut at = 0;
    loop {
        let (length_a, length_b) = (fill(&mut a, &mut block_a)?, fill(&mut b, &mut block_b)?);
        let (part_a, part_b) = (&block_a[..length_a], &block_b[..length_b]);
        if part_a != part_b {
            let same = part_a.iter().zip(part_b).take_while(|(a, b)| a == b).count();
            return Ok(Some(at + same as u64));
        }
        if length_a == 0 {
            return Ok(None);
        }
        at += length_a as u64;
    }
}

/// Reads until the block is full or the file ends.
fn fill(from: &mut dyn Read, block: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match from.read(&mut block[filled..]).context("reading to compare")? {
            0 => break,
            more => filled += more,
        }
    }
    Ok(filled)
}
