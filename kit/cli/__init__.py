"""The `kit` command, a file per family of commands."""
