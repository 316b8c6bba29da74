"""`masktune`: the service's parts, and the client's commands."""
