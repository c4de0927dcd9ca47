"""The data: files become a table of samples, folds, and one store of decoded pixels."""
