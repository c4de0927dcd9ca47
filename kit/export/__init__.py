"""Export: the models of finished runs as one folder that needs nothing else, and what it answers for new images."""
