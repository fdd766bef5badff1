//! Which files are hooks and in which order they run. Knows names only, no files.
//! Called by `dibw-compat` (selection) and the planner (order). Facts: compat/CONTRACT.md section 1.4.

use std::cmp::Ordering;

/// True for a name the classic runner selects: letters, digits, `_` and `-` only.
pub fn is_hook_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// True for a name of `environment.d` that is evaluated: a dot is allowed there.
pub fn is_environment_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// Compares two hook names as `LC_ALL=C sort -n` does: leading integer first (none counts as 0, any length), then the bytes of the
/// whole name. `environment.d` is not ordered by this but by plain bytes.
pub fn compare(left: &str, right: &str) -> Ordering {
    Number::leading(left).cmp(&Number::leading(right)).then_with(|| left.as_bytes().cmp(right.as_bytes()))
}

/// The number that begins a hook's name, as text: `-1` of `-1-neg`, `010` of `010-q`, nothing of `abc`.
pub fn number_text(name: &str) -> &str {
    let sign = usize::from(name.starts_with('-'));
    let digits = name[sign..].bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 { "" } else { &name[..sign + digits] }
}

/// A leading number of any length, kept as digits: a name may hold more than a machine word does.
#[derive(PartialEq, Eq)]
struct Number<'a> {
    negative: bool,
    digits: &'a str,
}

impl<'a> Number<'a> {
    fn leading(name: &'a str) -> Self {
        let text = number_text(name);
        let negative = text.starts_with('-');
        let digits = text.trim_start_matches('-').trim_start_matches('0');
        Self { negative: negative && !digits.is_empty(), digits }
    }
}

impl Ord for Number<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let magnitude =
            || self.digits.len().cmp(&other.digits.len()).then_with(|| self.digits.cmp(other.digits));
        match (self.negative, other.negative) {
            (false, false) => magnitude(),
            (true, true) => magnitude().reverse(),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Number<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_sample_sorts_as_recorded() {
        let recorded = [
            "-1-neg", "00-x", "A-b", "_x", "abc", "1e3-x", "5", "9-z", "010-q", "10-a", "10-b", "13-link",
            "16-x", "099-c", "100-d",
        ];
        let mut names = recorded.to_vec();
        names.reverse();
        names.sort_by(|left, right| compare(left, right));
        assert_eq!(names, recorded);
    }

    #[test]
    fn numbers_longer_than_a_machine_word_compare() {
        assert_eq!(compare("99999999999999999999999-a", "100000000000000000000000-a"), Ordering::Less);
        assert_eq!(compare("-2-a", "-1-a"), Ordering::Less);
        assert_eq!(compare("-0-a", "0-a"), Ordering::Less);
        assert_eq!(compare("-", "0"), Ordering::Less);
    }

    #[test]
    fn a_typed_hook_sorts_like_a_script_of_its_element() {
        let mut names = ["30-c", "20-motd", "10-a", "20-aaa"];
        names.sort_by(|left, right| compare(left, right));
        assert_eq!(names, ["10-a", "20-aaa", "20-motd", "30-c"]);
    }

    #[test]
    fn names_are_selected_by_their_characters() {
        for (name, hook, environment) in [
            ("10-a", true, true),
            ("foo.sh", false, true),
            ("a b", false, false),
            ("x~", false, false),
            ("", false, false),
            ("A_b-9", true, true),
        ] {
            assert_eq!((is_hook_name(name), is_environment_name(name)), (hook, environment), "{name}");
        }
    }
}
