"""The child process of a job: holds the device and runs the stages."""
