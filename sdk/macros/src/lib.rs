//! The macros of dibw-sdk: typed configuration, the list of hooks, the needs. Each lives in a file of its own and is documented where
//! dibw-sdk re-exports it. They write code against `::dibw_sdk` and nothing else. Needs are judged by dibw-policy, which judges them again when the element is used.

#![forbid(unsafe_code)]

mod config;
mod hooks;
mod needs;

use proc_macro::TokenStream;

/// Makes a struct an element's configuration.
///
/// Keys are the field names in kebab-case (`permit-root-login`; snake_case is taken too). Unknown keys are refused. A field must be given
/// unless it has a default or is an `Option`, `Vec` or map. Doc comments become the descriptions that `dibw element info` shows.
///
/// | attribute of a field | meaning |
/// |---|---|
/// | `#[config(default = "no")]` | the value when it is not given: a string (also the word of a choice), number or bool |
/// | `#[config(env = "DIB_X")]` | the classic variable that sets it when the configuration does not |
/// | `#[config(name = "key")]` | another key than the field's name |
#[proc_macro_derive(Config, attributes(config))]
pub fn derive_config(input: TokenStream) -> TokenStream {
    finish(syn::parse(input).and_then(|input| config::configuration(&input)))
}

/// Makes a struct, or an enum without fields, a value that configuration can hold.
///
/// A struct is an object, with the attributes of `#[derive(Config)]`. An enum is a choice between its variants' names in kebab-case
/// (`#[config(name = "word")]` on a variant changes one); it also gets `Display` and `as_str`, which give the word.
#[proc_macro_derive(ConfigValue, attributes(config))]
pub fn derive_config_value(input: TokenStream) -> TokenStream {
    finish(syn::parse(input).and_then(|input| config::value(&input)))
}

/// Put above `impl Element for X`: records which phases it implements, for the manifest.
///
/// A hook's order among those of its phase is 50 unless `#[order(20)]` stands on the method (0 to 99, as in the names of hook scripts).
#[proc_macro_attribute]
pub fn hooks(arguments: TokenStream, input: TokenStream) -> TokenStream {
    finish(hooks::expand(&arguments.into(), input.into()))
}

/// What the element asks for, in the words below; a mistake is found by the compiler.
///
/// | word | value |
/// |---|---|
/// | `read`, `write` | a path glob: `*` and `?` within a component, `/x/**` for everything below `/x` |
/// | `privileged` | a class of paths that run as root, beside the `write` that covers them: `sudoers`, `systemd_units`, `bootloader` ... |
/// | `package`, `remove_package` | a package name or glob |
/// | `enable`, `disable`, `mask` | a unit |
/// | `user`, `group` | an account or group name or glob |
/// | `user_privileged` | a group with root's powers, beside `user`: `sudo`, `docker` ...; `root` for uid 0 |
/// | `exec` | a command line: words separated by single spaces, a last `**` for any further ones |
/// | `variable`, `set_variable` | a variable's name |
/// | `fetch` | a URL prefix; then `required` (the default: a SHA-256), `first-use` or `none` |
/// | `address` | a block of addresses that are not public, as `10.0.0.0/8`, beside the `fetch` that leads there |
/// | `input` | the name of a file that the site offers |
/// | `secret` | the name of a secret, then `file PATH` or `header ORIGIN` |
/// | `cache` | the most bytes kept from build to build, as `64MiB` |
/// | `mount` | `tmpfs`, `cache` or `esp`, then a path glob |
/// | `kernel_argument`, `kernel_module`, `sysctl` | a key or name, or a glob of them |
/// | `unsafe_kernel_argument` | beside `kernel_argument`: a key that weakens the image |
/// | `bootloader` | `grub-pc`, `grub-efi` or `systemd-boot` |
/// | `repository` | an id of the site's catalogue of package repositories |
/// | `layout` | a kind of node in the element's `layout:` |
///
/// ```text
/// needs! { write "/etc/motd"; package "nginx", "nginx-common"; enable "nginx.service"; privileged systemd_units }
/// ```
#[proc_macro]
pub fn needs(input: TokenStream) -> TokenStream {
    finish(syn::parse(input).map(|needs: needs::Needs| needs.expand()))
}

fn finish(result: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    result.unwrap_or_else(|error| error.to_compile_error()).into()
}
