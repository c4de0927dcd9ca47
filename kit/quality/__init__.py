"""Quality: what the files are, which show the same picture, what leaks; and the fixes that a person decides on."""
