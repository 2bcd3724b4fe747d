"""`python -m robotgroups_cli`."""

from robotgroups_cli.main import main

main()
