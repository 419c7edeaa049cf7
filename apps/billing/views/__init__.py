"""What people see of plans, use and money."""
