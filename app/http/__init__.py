"""What the routes share about HTTP: validation, pagination, ETags, idempotency, multipart, files."""
