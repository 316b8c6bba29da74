"""What the front and the workers share: settings, words, errors, tables, artifacts, the doorbell."""
