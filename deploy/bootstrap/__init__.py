"""Setting up a machine that has only Python and make."""
