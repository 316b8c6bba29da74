"""`masktune demo`: the whole service in minutes, over HTTP through the client, like a user's own program."""
