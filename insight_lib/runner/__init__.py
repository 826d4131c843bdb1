"""Plan, execute, judge and publish notebook runs."""
