"""What the benchmarks of code have in common: tasks, contenders, scoring by hidden tests, records, statistics, the table."""
