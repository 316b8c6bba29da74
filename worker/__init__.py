"""The job engine: Celery rings, a supervisor holds the lease, a child process holds the device."""
