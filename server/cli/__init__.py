"""The command line: each command is a thin shell over the packages or over a running server's admin API."""
