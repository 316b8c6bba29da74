"""The report of a job, as JSON and as a page."""
