"""The subcommands of `masktune`, a module each."""
