//! midge-core
