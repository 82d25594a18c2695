//! Where a broker listens.

mod address;
pub(crate) mod bind;
