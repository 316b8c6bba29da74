"""Pure ASGI: what happens to every request, whatever its route."""
