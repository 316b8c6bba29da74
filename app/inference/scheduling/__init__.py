"""Batches of the requests that wait, and the memory they may take."""
