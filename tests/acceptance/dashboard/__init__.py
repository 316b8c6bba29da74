"""A package, so that its test files can share fixtures of scope `package`."""
