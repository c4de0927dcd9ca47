"""Store: from image files to decoded pixels in one memory-mapped file."""
