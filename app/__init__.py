"""The REST front. Only `app.inference` imports torch; the rest starts in under a second."""
