"""From files, or a builtin data set, to a packed store and its report."""
