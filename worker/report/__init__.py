"""The measurements a report is made of, one module a section."""
