"""The command `masktune`: what talks to a service."""
