"""The forms that start a job."""
