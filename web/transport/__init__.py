"""Between the browser, the dashboard and the API: files, uploads, refusals, prefixes."""
