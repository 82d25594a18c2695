//! midge
