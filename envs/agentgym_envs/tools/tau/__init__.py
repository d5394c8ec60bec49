"""Customer service over a database, in the file layout of tau2-bench."""
