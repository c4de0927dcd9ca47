"""Export: the models of finished runs as one folder that needs neither images nor runs, and its answers."""
