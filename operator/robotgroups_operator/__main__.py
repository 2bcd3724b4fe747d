"""`python -m robotgroups_operator`."""

from robotgroups_operator.main import main

main()
