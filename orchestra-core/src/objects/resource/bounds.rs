//! How many of something there may be.

use crate::api::field::{Errors, Path, Problem};

pub(super) const MAX_COUNTERS: usize = 32;

/// Says that there are too many of something.
pub(super) fn too_many(count: usize, most: usize, path: &Path, errors: &mut Errors) -> bool {
    if count > most {
        errors.push(path, Problem::TooMany(count, most));
    }
    count > most
}
