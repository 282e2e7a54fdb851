"""The ledger: what was counted, and the position up to which it was counted."""
