"""Kaggle: the client, and the file that is handed in."""
