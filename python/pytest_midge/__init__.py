"""pytest fixtures of Midge."""
