"""Shared by the front and the workers: settings, words, errors, tables, artifacts, the doorbell."""
