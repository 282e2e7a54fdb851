"""Values inside lines: times, numbers, HTTP words, currencies, JSON."""
