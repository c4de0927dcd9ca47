"""Scaffold: from a look at one's own images to a competition folder that works."""
