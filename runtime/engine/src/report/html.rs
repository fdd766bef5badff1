//! Text for HTML: escaping, numbers for people, tables, and the template's places. Names come from an image that may be hostile, so a cell
//! can only be made from text, which is escaped here, or from markup of ours.

use std::time::Duration;

/// Text that may stand anywhere in HTML, attributes in quotation marks included.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// JSON that may stand in a `script` element: outside of strings JSON has none of these characters.
pub(super) fn embedded(json: &str) -> String {
    let mut embedded = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                embedded.push_str(&format!("\\u{:04x}", u32::from(c)))
            }
            c => embedded.push(c),
        }
    }
    embedded
}

/// Puts texts into the places `{{NAME}}` of a template, which all have one. What is put in is not looked at again.
pub(super) fn fill(template: &str, places: &[(&str, &str)]) -> String {
    let mut parts = template.split("{{");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap_or((part, ""));
        filled.extend(places.iter().find(|(known, _)| *known == name).map(|(_, text)| *text));
        filled.push_str(rest);
    }
    filled
}

/// `12.3 MiB`
pub(super) fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match value >= 100.0 {
        true => format!("{value:.0} {}", units[unit]),
        false => format!("{value:.1} {}", units[unit]),
    }
}

/// `3.25 s`, `1m 05s`
pub(super) fn time(took: Duration) -> String {
    match took.as_secs() {
        seconds @ 60.. => format!("{}m {:02}s", seconds / 60, seconds % 60),
        10.. => format!("{:.1} s", took.as_secs_f64()),
        _ => format!("{:.2} s", took.as_secs_f64()),
    }
}

/// `1 package`, `2 packages`
pub(super) fn count(number: usize, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {one}{plural}")
}

/// One cell of a table.
pub(super) struct Cell {
    markup: String,
    /// What it is sorted by, in place of its text.
    value: Option<f64>,
}

impl Cell {
    /// The same, sorted by a number.
    pub(super) fn worth(self, value: f64) -> Self {
        Self { value: Some(value), ..self }
    }
}

/// A cell with text.
pub(super) fn text(text: &str) -> Cell {
    markup(escape(text))
}

/// A cell with a number, as it is shown and as it is sorted.
pub(super) fn number(shown: &str, value: f64) -> Cell {
    text(shown).worth(value)
}

/// A cell with markup of ours.
pub(super) fn markup(markup: String) -> Cell {
    Cell { markup, value: None }
}

/// A table. Columns are heading and class; `class` is that of the table.
pub(super) fn table(class: &str, columns: &[(&str, &str)], rows: Vec<Vec<Cell>>) -> String {
    let mut table = format!("<table class=\"{class}\"><thead><tr>");
    for (heading, class) in columns {
        table.push_str(&format!("<th scope=\"col\" class=\"{class}\">{heading}</th>"));
    }
    table.push_str("</tr></thead><tbody>\n");
    for row in rows {
        table.push_str("<tr>");
        for (cell, (_, class)) in row.iter().zip(columns) {
            let value = cell.value.map(|value| format!(" data-value=\"{value}\"")).unwrap_or_default();
            table.push_str(&format!("<td class=\"{class}\"{value}>{}</td>", cell.markup));
        }
        table.push_str("</tr>\n");
    }
    table.push_str("</tbody></table>");
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_breaks_out() {
        let name = "</script><img src=x onerror='alert(1)'>\"&\u{2028}";
        for shown in [escape(name), embedded(name)] {
            assert!(!shown.contains(['<', '>']), "{shown}");
        }
        let json = serde_json::to_string(name).unwrap();
        let back: String = serde_json::from_str(&embedded(&json)).unwrap();
        assert_eq!(back, name);
        let filled = fill("{{A}}-{{B}}.", &[("A", "{{B}}"), ("B", "}}{{A}}")]);
        assert_eq!(filled, "{{B}}-}}{{A}}.");
        let table = table("", &[("Name", "code")], vec![vec![text(name)]]);
        assert!(!table.contains("<img"), "{table}");
    }

    #[test]
    fn numbers_are_short() {
        for (bytes, shown) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (300 << 20, "300 MiB"), (5 << 40, "5.0 TiB")]
        {
            assert_eq!(size(bytes), shown);
        }
        for (millis, shown) in [(0, "0.00 s"), (1234, "1.23 s"), (12_345, "12.3 s"), (65_000, "1m 05s")] {
            assert_eq!(time(Duration::from_millis(millis)), shown);
        }
    }
}
