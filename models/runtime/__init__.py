"""What every pass over a split needs: batches, files, images, transfers, the process."""
