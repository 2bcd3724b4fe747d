"""The command `robotgroups`: what an administrator does with a database of robot groups."""
