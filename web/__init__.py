"""The dashboard: pages in the browser for people, a client of the API like any other."""
