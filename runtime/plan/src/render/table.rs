//! Columns of text. Knows nothing of plans. Called by `render` only.

/// The rows under their headings, each column as wide as it needs; the last one is wrapped at `wrap` characters.
pub(super) fn aligned(headings: &[&str], rows: &[Vec<String>], wrap: usize) -> String {
    let last = headings.len() - 1;
    let cell_width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..last).map(cell_width).collect();
    let indent = widths.iter().map(|width| width + 2).sum();
    let mut text = String::new();
    let mut line = |cells: &[&str], tail: &str| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        for (index, part) in wrapped(tail, wrap).iter().enumerate() {
            if index > 0 {
                text.push_str(line.trim_end());
                text.push('\n');
                line = " ".repeat(indent);
            }
            line.push_str(part);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(&headings[..last], headings[last]);
    for row in rows {
        let cells: Vec<&str> = row.iter().take(last).map(String::as_str).collect();
        line(&cells, row.get(last).map(String::as_str).unwrap_or_default());
    }
    text
}

/// The words of a text in lines of at most `width` characters; a longer word has its own line.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_the_last_wraps() {
        let rows = [vec!["a".to_owned(), "one two three".to_owned()], vec!["bbb".to_owned(), String::new()]];
        assert_eq!(aligned(&["X", "WHAT"], &rows, 8), "X    WHAT\na    one two\n     three\nbbb\n");
    }
}
