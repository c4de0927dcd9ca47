"""Pseudo-labels: a teacher's answers to the test images as training images of a student, fold by fold."""
