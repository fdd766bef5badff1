//! The manifest that `element!` puts into the component: made by the compiler, so it cannot differ from the code.
//! The runtime reads it from the section [`SECTION`] before it compiles anything.

use crate::element::{Element, Hook};
use crate::text::Text;

/// The custom section that holds the manifest.
pub const SECTION: &str = "dibw:manifest";

/// One right that the element asks for, as `needs!` writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The capability's name, as in `target.write`.
    pub capability: &'static str,
    /// What it is wanted for: a glob, a name, an argv pattern.
    pub value: &'static str,
}

/// The manifest of `T` as JSON. `id` and `version` are the crate's.
#[doc(hidden)]
pub const fn render<T: Element>(
    id: &str,
    version: &str,
    needs: &[Need],
    depends: &[&str],
    provides: &[&str],
    layout: Option<&str>,
) -> Text {
    let text = Text::new().text("{\"id\":").quoted(id).text(",\"version\":").quoted(version);
    let text = text
        .text(",\"api\":")
        .quoted(crate::API)
        .text(",\"sdk\":\"dibw-sdk ")
        .text(crate::VERSION)
        .text("\"");
    let text = text.text(",\"summary\":").quoted(T::SUMMARY);
    let text = hooks(text.text(",\"hooks\":["), T::HOOKS);
    let text = strings(text.text("],\"depends\":["), depends);
    let text = strings(text.text("],\"provides\":["), provides);
    let text = text.text("],\"config_schema\":").joined(&T::SCHEMA);
    let text = self::needs(text.text(",\"needs\":["), needs).text("]");
    match layout {
        Some(layout) => text.text(",\"layout\":").quoted(layout),
        None => text,
    }
    .text("}")
}

const fn hooks(mut text: Text, hooks: &[Hook]) -> Text {
    let mut at = 0;
    while at < hooks.len() {
        let hook = &hooks[at];
        text = comma(text, at).text("{\"phase\":").quoted(hook.phase.name());
        text = text.text(",\"order\":").number(hook.order).text("}");
        at += 1;
    }
    text
}

const fn needs(mut text: Text, needs: &[Need]) -> Text {
    let mut at = 0;
    while at < needs.len() {
        text = comma(text, at).text("{\"capability\":").quoted(needs[at].capability);
        text = text.text(",\"value\":").quoted(needs[at].value).text("}");
        at += 1;
    }
    text
}

const fn strings(mut text: Text, strings: &[&str]) -> Text {
    let mut at = 0;
    while at < strings.len() {
        text = comma(text, at).quoted(strings[at]);
        at += 1;
    }
    text
}

const fn comma(text: Text, at: usize) -> Text {
    if at == 0 { text } else { text.text(",") }
}

/// Declares the element: exports it from the component and records its manifest.
///
/// ```text
/// element!(Ssh, needs! { package "openssh-server"; enable "ssh.service" });
/// element!(Ssh, needs! { ... }, depends: ["hostname"], provides: ["ssh-server"]);
/// element!(Raid, needs! { layout "partitioning", "mkfs", "mount" }, layout: include_str!("layout.yaml"));
/// ```
///
/// `layout:` is a block device configuration, as `block-device-default.yaml` of a shell element has it; each kind of node in it is a need.
///
/// The manifest's id and version are the crate's. In native tests the manifest is `Ssh::MANIFEST`.
///
/// An `impl Element` without `#[hooks]` does not compile, and neither does a need with a mistake in it:
///
/// ```compile_fail
/// # use dibw_sdk::prelude::*;
/// #[derive(Config)]
/// struct Motd;
/// impl Element for Motd {}
/// ```
///
/// ```compile_fail
/// # use dibw_sdk::prelude::*;
/// const NEEDS: &[dibw_sdk::Need] = needs! { wirte "/etc/motd" };
/// ```
///
/// ```compile_fail
/// # use dibw_sdk::prelude::*;
/// const NEEDS: &[dibw_sdk::Need] = needs! { write "etc/motd" };
/// ```
#[macro_export]
macro_rules! element {
    (
        $element:ty, $needs:expr
        $(, depends: [$($depends:literal),* $(,)?])?
        $(, provides: [$($provides:literal),* $(,)?])?
        $(, layout: $layout:expr)? $(,)?
    ) => {
        impl $crate::Described for $element {
            const MANIFEST: &'static str = $crate::text::as_str(&DIBW_MANIFEST);
        }

        /// The bytes of the manifest, made by `element!`.
        const DIBW_MANIFEST: [u8; $crate::manifest::render::<$element>(
            env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), $needs, &[$($($depends),*)?], &[$($($provides),*)?],
            DIBW_LAYOUT,
        ).len()] = $crate::manifest::render::<$element>(
            env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), $needs, &[$($($depends),*)?], &[$($($provides),*)?],
            DIBW_LAYOUT,
        ).exactly();

        /// What it contributes to the disk's layout.
        const DIBW_LAYOUT: Option<&str> = {
            let layouts: &[&str] = &[$($layout)?];
            match layouts {
                [layout] => Some(*layout),
                _ => None,
            }
        };

        $crate::export_element!($element);
    };
}

/// Only a component exports: the exported names are no identifiers that a native linker takes.
#[cfg(not(target_family = "wasm"))]
#[doc(hidden)]
#[macro_export]
macro_rules! export_element {
    ($element:ty) => {
        // What the component would export is used, so that the compiler does not call an element dead code.
        const _: fn($crate::Phase, &str, &$crate::Cx) -> $crate::Result = $crate::dispatch::<$element>;
    };
}
