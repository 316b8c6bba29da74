"""API keys: who calls, what the key may do, how often."""
