//! From the entries of an image file (`--config`) to Requests. Arguments given beside the file are the defaults of every image.

use dibw_compat::images::Image;
use dibw_plan::{Faults, Request};

/// One Request per image.
pub fn requests(defaults: &Request, images: Vec<Image>, faults: &mut Faults) -> Vec<Request> {
    images.into_iter().filter_map(|image| faults.take(image.request(defaults))).collect()
}
