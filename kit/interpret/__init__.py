"""What a trained network makes of its images: which it gets wrong, what it takes for what, where it looks."""
