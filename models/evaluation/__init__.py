"""What is measured of a network: metrics, reliability, paired comparisons, verdicts."""
