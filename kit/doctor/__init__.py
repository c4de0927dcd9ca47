"""What this machine has for the kit, and what it lacks: `kit doctor`."""
