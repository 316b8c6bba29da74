"""Shared by the front and the workers: settings, errors, tables, artifacts, notifications."""
