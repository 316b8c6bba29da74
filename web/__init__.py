"""The dashboard: web pages for people, built on the API like any other client."""
