//! Container images: what is said of them in the archive, and what becomes of the archive when it is whole: it is loaded into the container
//! engine that answers, and pushed where the user says. Knows the commands of docker, podman and skopeo.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use dibw_image::container::{ContainerImage, LayerCompression, write_docker_archive, write_oci_archive};
use dibw_plan::OutputType;
use dibw_sys::calendar::Moment;
use dibw_sys::probe;

use super::formats::{GZIP_LEVEL, threads};
use crate::events::Level;
use crate::failure::Failure;
use crate::machine::HostTool;
use crate::run::Build;

/// Programs that push an image, those that need no engine last.
pub(crate) const PUSHERS: [&str; 3] = ["docker", "podman", "skopeo"];

/// Programs that keep images on this machine.
const ENGINES: [&str; 2] = ["docker", "podman"];

/// The caller's variables that tell these programs where their engine is and who the user is there.
const CLIENT_VARIABLES: [&str; 9] = [
    "CONTAINER_HOST",
    "DOCKER_CERT_PATH",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_HOST",
    "DOCKER_TLS_VERIFY",
    "HOME",
    "REGISTRY_AUTH_FILE",
    "XDG_RUNTIME_DIR",
];

/// How long an engine may take to say that it is there: one on another machine may be unreachable.
const PATIENCE: Duration = Duration::from_secs(20);

/// Debian's architectures in Go's spelling, with the variant. What is not here is spelled alike.
const ARCHITECTURES: [(&str, &str, Option<&str>); 9] = [
    ("aarch64", "arm64", None),
    ("armel", "arm", Some("v5")),
    ("armhf", "arm", Some("v7")),
    ("i386", "386", None),
    ("mips64el", "mips64le", None),
    ("powerpc", "ppc", None),
    ("ppc64el", "ppc64le", None),
    ("x86_64", "amd64", None),
    ("arm", "arm", Some("v7")),
];

impl Build<'_> {
    /// An archive for `docker load`.
    pub(super) fn write_docker(&self, out: &File) -> Result<()> {
        write_docker_archive(out, &self.container_image(), &mut |layer| {
            self.write_tar(layer, self.tar_options())
        })
    }

    /// An OCI image layout.
    pub(super) fn write_oci(&self, out: &File) -> Result<()> {
        let compression = LayerCompression { level: GZIP_LEVEL, threads: threads() };
        write_oci_archive(out, &self.container_image(), compression, &mut |layer| {
            self.write_tar(layer, self.tar_options())
        })
    }

    fn container_image(&self) -> ContainerImage {
        let arch = self.plan.arch.as_str();
        let known = ARCHITECTURES.into_iter().find(|(debian, ..)| *debian == arch);
        let (_, go, variant) = known.unwrap_or((arch, arch, None));
        ContainerImage {
            architecture: go.to_owned(),
            variant: variant.map(str::to_owned),
            created: timestamp(self.plan.source_date_epoch),
            reference: self.plan.docker_target.clone(),
        }
    }

    /// Loads the container image into an engine and pushes it, once its archive has its name.
    pub(super) fn publish(&self) -> Result<(), Failure> {
        let Some(target) = self.plan.docker_target.as_ref() else { return Ok(()) };
        if !self.plan.types.contains(&OutputType::Docker) {
            return Ok(());
        }
        let archive = PathBuf::from(format!("{}.{}", self.plan.output, OutputType::Docker.suffix()));
        let archive = self.start_dir.join(archive).display().to_string();
        let engine = ENGINES.into_iter().find(|engine| self.answers(engine));
        let loaded = engine.filter(|engine| self.hand_over(engine, &archive, target));
        let Some(push) = &self.plan.push else { return Ok(()) };
        self.push(loaded, &archive, target, push).map_err(|error| {
            Failure::from(error).hint(format!("the image itself is whole: {archive}; push it again by hand"))
        })
    }

    /// Whether the program is there and has an engine behind it.
    fn answers(&self, engine: &str) -> bool {
        probe::find_tool(engine).is_some()
            && self
                .client(&[engine, "info"], Some(PATIENCE))
                .inspect_err(|error| tracing::debug!("{engine} does not answer: {error:#}"))
                .is_ok()
    }

    /// The archive is whole, so that a failure here costs the user one command.
    fn hand_over(&self, engine: &str, archive: &str, target: &str) -> bool {
        match self.client(&[engine, "load", "--input", archive], None) {
            Ok(()) => {
                self.message(Level::Info, "", format!("{engine} has the image {target}"));
                true
            }
            Err(error) => {
                let why = format!("{error:#}").lines().map(str::trim).collect::<Vec<_>>().join("; ");
                let text =
                    format!("{engine} did not take the image ({why}); try: {engine} load -i {archive}");
                self.message(Level::Warn, "", text);
                false
            }
        }
    }

    /// By the engine that has the image, else by skopeo from the archive.
    fn push(&self, engine: Option<&str>, archive: &str, target: &str, to: &str) -> Result<()> {
        match engine {
            Some(engine) => {
                self.client(&[engine, "tag", target, to], None)?;
                self.client(&[engine, "push", to], None)?;
            }
            None => {
                let from = format!("docker-archive:{archive}");
                self.client(&["skopeo", "copy", &from, &format!("docker://{to}")], None)
                    .context("no container engine answers, so skopeo must push")?;
            }
        }
        self.message(Level::Info, "", format!("pushed to {to}"));
        Ok(())
    }

    /// Runs a client of a container engine, as its user would.
    fn client(&self, argv: &[&str], timeout: Option<Duration>) -> Result<()> {
        let own = |name: &&str| Some(((*name).to_owned(), std::env::var(name).ok()?));
        let env = CLIENT_VARIABLES.iter().filter_map(own).collect();
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        self.run_tool(&HostTool { argv, env, timeout }, &[])
    }
}

/// RFC 3339, in UTC.
fn timestamp(seconds: u64) -> String {
    let Moment { year, month, day, hour, minute, second } = Moment::of(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    #[test]
    fn timestamps() {
        assert_eq!(super::timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(super::timestamp(1_709_251_199), "2024-02-29T23:59:59Z");
    }
}
