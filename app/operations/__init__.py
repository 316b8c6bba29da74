"""What an operator asks: health, limits, metrics, problems, the OpenAPI description."""
