"""What the dashboard says: labels and sentences."""
