"""One module per page; importing them registers the pages."""
