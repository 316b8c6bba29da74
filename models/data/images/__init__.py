"""One image file: what it may be, and its pixels."""
