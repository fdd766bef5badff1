//! The element `{{name}}`.

use dibw_sdk::prelude::*;

/// Says in one line what the element does; `dibw element list` shows it.
#[derive(Config)]
struct {{Name}} {
    /// What is written. Doc comments are what `dibw element info` shows.
    #[config(default = "Hello.", env = "DIB_{{NAME}}_GREETING")]
    greeting: String,
}

// One method for each phase that the element has a hook in.
#[hooks]
impl Element for {{Name}} {
    fn post_install(&self, cx: &Cx) -> Result {
        cx.write("/etc/{{name}}", format!("{}\n", self.greeting))
    }
}

// All that it may do. Anything else is refused, here in the tests and in a build.
element!({{Name}}, needs! { write "/etc/{{name}}" });

#[cfg(test)]
mod tests {
    use super::*;
    use dibw_sdk_testing::Mock;

    #[test]
    fn writes_the_greeting() {
        let mock = Mock::strict({{Name}}::MANIFEST);
        mock.run::<{{Name}}>(Phase::PostInstall, r#"{"greeting": "Hi."}"#).unwrap();
        assert_eq!(mock.snapshot(), "allow target.write /etc/{{name}}\n--- /etc/{{name}} 0644\nHi.\n");
        mock.assert_all_used();
    }
}
