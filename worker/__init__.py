"""The job engine: a slot claims a job, a supervisor holds the lease, a child process holds the device."""
