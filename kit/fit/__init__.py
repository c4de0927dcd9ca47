"""What a training takes of memory, known before its first step."""
