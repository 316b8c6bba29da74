"""Webhooks: who is told of events, and the messages on their way."""
