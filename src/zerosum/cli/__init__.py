"""The doors: the command line and the Python interface."""
