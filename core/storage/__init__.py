"""Artifacts on a disk or in an object store: copies, leftovers, deletion, backup."""
