"""The typed Python client: HTTP only, blocking or async."""
