"""The balancers that are measured, a file each."""
