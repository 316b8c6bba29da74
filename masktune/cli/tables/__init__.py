"""What the commands answer, as tables for a terminal."""
