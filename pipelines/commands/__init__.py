"""The commands of the command line, one module each; they import click alone until they run."""
