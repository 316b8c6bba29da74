"""Data sets: uploads, sources, samples."""
