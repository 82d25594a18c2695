//! midge-testkit
