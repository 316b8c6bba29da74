"""Pure ASGI middleware, applied to every request whatever its route."""
