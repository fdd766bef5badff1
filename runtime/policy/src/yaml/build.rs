//! Parser events -> nodes, within bounds: size, depth, nodes after alias expansion, unique keys, known tags.
//! Knows nothing of what documents say. Called by `yaml::load`.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::{Anchors, Data, Entry, MAX_BYTES, MAX_DEPTH, MAX_NODES, Node, Scalar, Spot, Value, YamlError};

struct Builder<'input> {
    parser: Parser<'input, StrInput<'input>>,
    /// Finished anchors: the node, how many nodes it is, how deep.
    anchors: HashMap<usize, (Node, usize, usize)>,
    mode: Anchors,
    nodes: usize,
}

pub(super) fn document(text: &str, mode: Anchors) -> Result<Node, YamlError> {
    let start = Spot { line: 1, column: 1 };
    if text.len() > MAX_BYTES {
        return Err(start.error(format!("the document has {} bytes, more than {MAX_BYTES}", text.len())));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { parser: Parser::new_from_str(text), anchors: HashMap::new(), mode, nodes: 0 };
    let mut root = None;
    loop {
        let (event, spot) = builder.next()?;
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            Event::StreamEnd => break,
            _ if root.is_some() => return Err(spot.error("a second document; one is expected")),
            event => root = Some(builder.node(event, spot, 1)?),
        }
    }
    Ok(root.unwrap_or_else(|| null(start)))
}

impl<'input> Builder<'input> {
    fn next(&mut self) -> Result<(Event<'input>, Spot), YamlError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, spot(&span))),
            Some(Err(error)) => {
                let mark = error.marker();
                Err(Spot { line: mark.line(), column: mark.col() + 1 }
                    .error(format!("not YAML: {}", error.info())))
            }
            None => Ok((Event::StreamEnd, Spot { line: 1, column: 1 })),
        }
    }

    fn node(&mut self, event: Event<'input>, spot: Spot, depth: usize) -> Result<Node, YamlError> {
        if depth > MAX_DEPTH {
            return Err(spot.error(format!("nested deeper than {MAX_DEPTH}")));
        }
        let before = self.nodes;
        self.count(1, spot)?;
        let (anchor, node) = match event {
            Event::Scalar(raw, style, anchor, tag) => (anchor, scalar(&raw, style, tag.as_deref(), spot)?),
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag, "seq", spot)?;
                (anchor, Node { value: Value::Sequence(self.sequence(depth)?), spot })
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag, "map", spot)?;
                (anchor, Node { value: Value::Mapping(self.mapping(depth)?), spot })
            }
            Event::Alias(id) => return self.alias(id, spot, depth),
            other => return Err(spot.error(format!("not YAML: unexpected {other:?}"))),
        };
        if anchor > 0 {
            self.check_anchor(spot)?;
            let size = self.nodes - before;
            self.anchors.insert(anchor, (node.clone(), size, height(&node)));
        }
        Ok(node)
    }

    /// The anchored node again, with its own line (that is where a mistake in it must be mended).
    fn alias(&mut self, id: usize, spot: Spot, depth: usize) -> Result<Node, YamlError> {
        self.check_anchor(spot)?;
        let Some((node, size, height)) = self.anchors.get(&id) else {
            return Err(spot.error("an alias inside the node it names"));
        };
        if depth + height - 1 > MAX_DEPTH {
            return Err(spot.error(format!("nested deeper than {MAX_DEPTH}")));
        }
        let (node, size) = (node.clone(), *size);
        self.count(size, spot)?;
        Ok(node)
    }

    fn check_anchor(&self, spot: Spot) -> Result<(), YamlError> {
        match self.mode {
            Anchors::Expanded => Ok(()),
            Anchors::Refused => Err(spot.error("anchors, aliases and merge keys are not accepted here")),
        }
    }

    fn count(&mut self, more: usize, spot: Spot) -> Result<(), YamlError> {
        self.nodes += more;
        if self.nodes > MAX_NODES {
            return Err(spot.error(format!("more than {MAX_NODES} values once aliases are expanded")));
        }
        Ok(())
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, spot) => items.push(self.node(event, spot, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<Entry>, YamlError> {
        let mut entries: Vec<Entry> = Vec::new();
        // Key -> line, so that a long mapping is not searched once per key.
        let mut lines: HashMap<String, usize> = HashMap::new();
        let mut merged = Vec::new();
        loop {
            let (event, spot) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let is_merge = matches!(&event, Event::Scalar(raw, ScalarStyle::Plain, _, None) if raw == "<<");
            if is_merge {
                self.check_anchor(spot)?;
            }
            let key = match self.node(event, spot, depth + 1)?.value {
                Value::Scalar(scalar) => scalar.raw,
                _ => return Err(spot.error("a key must be a single value")),
            };
            let (event, value_spot) = self.next()?;
            let value = self.node(event, value_spot, depth + 1)?;
            if is_merge {
                merged.extend(merge_sources(value)?);
                continue;
            }
            if let Some(first) = lines.insert(key.clone(), spot.line) {
                return Err(spot.error(format!("duplicate key `{key}`, first given in line {first}")));
            }
            entries.push(Entry { key, spot, value });
        }
        // A key of the mapping itself wins over a merged one, an earlier source over a later.
        for entry in merged {
            if !lines.contains_key(&entry.key) {
                lines.insert(entry.key.clone(), entry.spot.line);
                entries.push(entry);
            }
        }
        Ok(entries)
    }
}

fn merge_sources(value: Node) -> Result<Vec<Entry>, YamlError> {
    let spot = value.spot;
    match value.value {
        Value::Mapping(entries) => Ok(entries),
        Value::Sequence(items) => {
            let mut all = Vec::new();
            for item in items {
                match item.value {
                    Value::Mapping(entries) => all.extend(entries),
                    _ => return Err(item.spot.error("`<<` takes mappings")),
                }
            }
            Ok(all)
        }
        Value::Scalar(_) => Err(spot.error("`<<` takes a mapping or a list of mappings")),
    }
}

fn scalar(raw: &str, style: ScalarStyle, tag: Option<&Tag>, spot: Spot) -> Result<Node, YamlError> {
    let quoted = style != ScalarStyle::Plain;
    let plain = || Data::of_plain(raw);
    let data = match tag {
        None if quoted => Data::Text,
        None => plain(),
        Some(tag) if tag.is_yaml_core_schema() || tag.handle == "!!" => {
            match (tag.suffix.as_str(), plain()) {
                ("str", _) => Data::Text,
                ("null", data @ Data::Null) | ("bool", data @ Data::Bool(_)) => data,
                ("int", data @ Data::Integer(_)) | ("float", data @ Data::Float(_)) => data,
                ("float", Data::Integer(value)) => Data::Float(value as f64),
                (kind, _) => return Err(spot.error(format!("`{raw}` is no !!{kind}"))),
            }
        }
        // The lone `!` means "not typed by its looks".
        Some(tag) if tag.suffix.is_empty() => Data::Text,
        Some(tag) => return Err(spot.error(format!("unknown tag `{tag}`"))),
    };
    Ok(Node { value: Value::Scalar(Scalar { raw: raw.to_owned(), quoted, data }), spot })
}

fn check_tag(tag: Option<Cow<'_, Tag>>, expected: &str, spot: Spot) -> Result<(), YamlError> {
    match tag {
        Some(tag) if tag.suffix != expected => Err(spot.error(format!("unknown tag `{tag}`"))),
        _ => Ok(()),
    }
}

fn height(node: &Node) -> usize {
    let below = match &node.value {
        Value::Scalar(_) => 0,
        Value::Sequence(items) => items.iter().map(height).max().unwrap_or(0),
        Value::Mapping(entries) => entries.iter().map(|entry| height(&entry.value)).max().unwrap_or(0),
    };
    below + 1
}

fn null(spot: Spot) -> Node {
    Node { value: Value::Scalar(Scalar { raw: String::new(), quoted: false, data: Data::Null }), spot }
}

/// The parser counts columns from 0.
fn spot(span: &Span) -> Spot {
    Spot { line: span.start.line(), column: span.start.col() + 1 }
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;

    fn failure(text: &str) -> String {
        load(text).map_or_else(|error| error.to_string(), |node| format!("{node:?}"))
    }

    #[test]
    fn nodes_know_their_place_and_type() {
        let node = load("a: yes\nb:\n  - 'no'\n  - {c: 0700}\n").expect("a good document");
        assert_eq!(node.to_json(), serde_json::json!({"a": true, "b": ["no", {"c": 448}]}));
        let list = node.get("b").and_then(Node::as_sequence).expect("a list");
        assert_eq!(list[0].spot, Spot { line: 3, column: 5 });
        let mapping = list[1].as_mapping().expect("a mapping");
        assert_eq!(mapping[0].spot, Spot { line: 4, column: 6 });
        assert_eq!(mapping[0].value.as_text(), Some("0700"));
    }

    #[test]
    fn empty_texts_and_values_are_null() {
        assert!(load("").expect("nothing").is_null());
        assert!(load("# only a comment\n").expect("nothing").is_null());
        assert_eq!(load("a:\n").expect("a mapping").to_json(), serde_json::json!({"a": null}));
    }

    #[test]
    fn anchors_aliases_and_merges_are_expanded() {
        let text = "base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\nlist: [*b]\n";
        let expected = serde_json::json!({"base": {"x": 1, "y": 2}, "use": {"x": 1, "y": 3}, "list": [{"x": 1, "y": 2}]});
        assert_eq!(load(text).expect("a good document").to_json(), expected);
    }

    #[test]
    fn bad_documents_are_refused_with_their_line() {
        let bomb = (0..12).fold(String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n"), |text, level| {
            let alias = format!("*a{level}");
            format!("{text}a{}: &a{} [{}]\n", level + 1, level + 1, [alias.as_str(); 9].join(","))
        });
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        let cases = [
            ("a: 1\nb: 2\na: 3\n", "3:1: duplicate key `a`, first given in line 1"),
            ("[a]: 1\n", "1:1: a key must be a single value"),
            ("a: 1\n---\nb: 2\n", "3:1: a second document; one is expected"),
            ("a: &x [*x]\n", "1:8: an alias inside the node it names"),
            ("a: !!python/object:os.system x\n", "`x` is no !!python/object:os.system"),
            ("a: !mine x\n", "unknown tag `!mine`"),
            ("a: !!int x\n", "`x` is no !!int"),
            (bomb.as_str(), "more than 600000 values once aliases are expanded"),
            (deep.as_str(), "1:65: nested deeper than 64"),
            ("a: [1\nb: 2\n", "not YAML: "),
        ];
        for (text, expected) in cases {
            let message = failure(text);
            assert!(message.contains(expected), "{expected}\n--- got ---\n{message}");
        }
        let long = format!("a: {}", "x".repeat(MAX_BYTES));
        assert!(failure(&long).contains("more than 1048576"), "a long document is refused");
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let node = load("nmae: x\nsize: y\nwholly-other: z\n").expect("a mapping");
        let errors: Vec<String> =
            node.expect_keys(&["name", "size"]).iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "1:1: unknown key `nmae`\n  hint: did you mean `name`?",
                "3:1: unknown key `wholly-other`\n  hint: known keys: name, size"
            ]
        );
    }
}
