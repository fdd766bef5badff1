//! The arguments about layers of earlier builds, which `build`, `plan` and `shell` share.

use std::path::Path;
use std::time::Duration;

use dibw_engine::Paths;
use dibw_engine::layers::Settings;

/// Most bytes that layers take unless somebody says otherwise.
pub const LIMIT: u64 = 20 << 30;

/// How many hours a layer that came over the network is good for.
const MAX_AGE: u64 = 24;

/// How layers of earlier builds are used.
#[derive(clap::Args, Clone)]
pub struct LayerArgs {
    /// Use no layers of earlier builds, and keep none
    #[arg(long)]
    no_cache: bool,

    /// How old layers may be that were made from what the network gave, in hours
    #[arg(long, value_name = "HOURS", default_value_t = MAX_AGE, env = "DIBW_MAX_AGE")]
    max_age: u64,

    /// Most that kept layers and outputs take, like 20GiB; the least recently used go first
    #[arg(long, value_name = "SIZE", default_value = "20GiB", env = "DIBW_CACHE_LIMIT", value_parser = parse_limit)]
    cache_limit: u64,
}

impl LayerArgs {
    /// The paths, with layers where they are wanted.
    pub fn add_to(&self, paths: Paths) -> Paths {
        let layers = (!self.no_cache).then(|| Settings {
            limit: self.cache_limit,
            max_age: Duration::from_secs(self.max_age.saturating_mul(3600)),
            ..settings(&paths.cache)
        });
        Paths { layers, ..paths }
    }
}

/// As usual, below the directory of all caches.
pub fn settings(cache: &Path) -> Settings {
    Settings { directory: cache.join("layers"), limit: LIMIT, max_age: Duration::from_secs(MAX_AGE * 3600) }
}

/// A size in bytes.
pub fn parse_limit(text: &str) -> Result<u64, String> {
    dibw_plan::size::parse_absolute(text).map_err(|error| error.to_string())
}
