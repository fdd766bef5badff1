//! The macros' output, from an author's view: schema, manifest, reading, the words of errors.

use std::collections::BTreeMap;

use crate::config::parse;
use crate::prelude::*;

/// A web server.
///
/// Second paragraph.
#[derive(Debug, PartialEq, Config)]
struct Web {
    /// Where it
    /// listens.
    #[config(default = 80, env = "DIB_WEB_PORT")]
    port: u16,
    /// How much it "says".
    #[config(default = "only-errors")]
    log_level: Level,
    #[config(default = true)]
    gzip: bool,
    name: String,
    email: Option<String>,
    #[config(name = "site")]
    sites: Vec<Site>,
    headers: BTreeMap<String, Scalar>,
}

#[derive(Debug, PartialEq, ConfigValue)]
struct Site {
    host: String,
    #[config(default = "/srv/www")]
    root: String,
}

#[derive(Debug, PartialEq, ConfigValue)]
enum Level {
    Everything,
    OnlyErrors,
    #[config(name = "0")]
    Nothing,
}

#[hooks]
impl Element for Web {
    #[order(99)]
    fn cleanup(&self, _cx: &Cx) -> Result {
        Ok(())
    }
    fn extra_data(&self, _cx: &Cx) -> Result {
        Ok(())
    }
    #[order(5)]
    fn install(&self, _cx: &Cx) -> Result {
        Ok(())
    }
}

element!(
    Web,
    needs! {
        package "nginx", "nginx-*";
        write "/etc/nginx/**";
        privileged cron;
        enable "nginx.service";
        group "web";
        variable "DIB_WEB";
        exec "/usr/sbin/nginx -t";
    },
    depends: ["hostname", "users"],
    provides: ["web-server"],
);

#[test]
fn the_manifest_is_all_that_the_author_wrote() {
    let expected = concat!(
        r#"{"id":"dibw-sdk","version":"0.1.0","api":"0.1","sdk":"dibw-sdk 0.1.0","summary":"A web server.","#,
        r#""hooks":[{"phase":"extra-data","order":50},{"phase":"install","order":5},{"phase":"cleanup","order":99}],"#,
        r#""depends":["hostname","users"],"provides":["web-server"],"#,
        r#""config_schema":{"type":"object","properties":{"#,
        r#""port":{"type":"integer","description":"Where it listens.","default":80,"x-env":"DIB_WEB_PORT"},"#,
        r#""log-level":{"type":"string","enum":["everything","only-errors","0"],"description":"How much it \"says\".","default":"only-errors"},"#,
        r#""gzip":{"type":"boolean","default":true},"name":{"type":"string"},"email":{"type":"string"},"#,
        r#""site":{"type":"array","items":{"type":"object","properties":{"host":{"type":"string"},"#,
        r#""root":{"type":"string","default":"/srv/www"}},"required":["host"],"additionalProperties":false}},"#,
        r#""headers":{"type":"object","additionalProperties":{"type":["string","integer","boolean"]}}},"#,
        r#""required":["name"],"additionalProperties":false},"#,
        r#""needs":[{"capability":"packages.install","value":"nginx"},{"capability":"packages.install","value":"nginx-*"},"#,
        r#"{"capability":"target.write","value":"/etc/nginx/**"},{"capability":"target.write_privileged","value":"cron"},"#,
        r#"{"capability":"service.set","value":"enable nginx.service"},{"capability":"user.add","value":"web"},"#,
        r#"{"capability":"host.env","value":"DIB_WEB"},{"capability":"target.exec","value":"/usr/sbin/nginx -t"}]}"#,
    );
    assert_eq!(Web::MANIFEST, expected);
    let parsed: serde_json::Value = serde_json::from_str(Web::MANIFEST).unwrap();
    assert_eq!(parsed["hooks"].as_array().unwrap().len(), 3);
}

#[test]
fn configuration_is_read() {
    let web: Web = parse(
        r#"{"name": "w", "log_level": "0", "site": [{"host": "a"}, {"host": "b", "root": "/b"}], "headers": {"x": 1, "y": "z", "t": true}}"#,
    )
    .unwrap();
    let site = |host: &str, root: &str| Site { host: host.to_owned(), root: root.to_owned() };
    let expected = Web {
        port: 80,
        log_level: Level::Nothing,
        gzip: true,
        name: "w".to_owned(),
        email: None,
        sites: vec![site("a", "/srv/www"), site("b", "/b")],
        headers: [("x", "1"), ("y", "z"), ("t", "1")]
            .map(|(key, value)| (key.to_owned(), Scalar(value.to_owned())))
            .into(),
    };
    assert_eq!(web, expected);
    assert_eq!(Level::OnlyErrors.to_string(), "only-errors");
}

#[test]
fn mistakes_name_the_key_and_what_would_fit() {
    let cases = [
        ("[]", "configuration: expected an object, found []"),
        ("{", "configuration is not JSON: EOF while parsing an object at line 1 column 1"),
        ("{}", "name: must be given"),
        ("", "name: must be given"),
        (r#"{"name": 1}"#, "name: expected a string, found 1"),
        (r#"{"name": "w", "port": 65536}"#, "port: expected a whole number from 0 to 65535, found 65536"),
        (r#"{"name": "w", "port": "80"}"#, "port: expected a whole number from 0 to 65535, found \"80\""),
        (
            r#"{"name": "w", "log-level": "some"}"#,
            "log-level: expected one of `everything`, `only-errors`, `0`, found \"some\"",
        ),
        (r#"{"name": "w", "gzip": "yes"}"#, "gzip: expected true or false, found \"yes\""),
        (
            r#"{"name": "w", "site": [{"host": "a"}, {"hst": "b"}]}"#,
            "site[1]: unknown key `hst`; did you mean `host`? expected `host`, `root`",
        ),
        (
            r#"{"name": "w", "headers": {"a": []}}"#,
            "headers.a: expected a string, a whole number or a bool, found []",
        ),
        (r#"{"name": "w", "log-level": "0", "log_level": "0"}"#, "configuration: `log-level` is given twice"),
        (
            r#"{"nmae": "w"}"#,
            "unknown key `nmae`; did you mean `name`? expected `port`, `log-level`, `gzip`, `name`, `email`, `site`, `headers`",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(parse::<Web>(text), Err(Error::invalid(expected)), "{text}");
    }
}
