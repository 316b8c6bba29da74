"""The parent of a job's child: start, lease, progress, cancel, end."""
