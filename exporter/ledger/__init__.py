"""The ledger: all counts, and the positions up to which the logs are counted."""
