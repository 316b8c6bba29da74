"""From a packed store to batches on the device."""
