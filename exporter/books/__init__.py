"""What the ledger keeps: series and what moves them, budgets, prices and joins, and all of it as tables."""
