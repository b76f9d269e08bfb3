"""What three apiservers get to feel when thousands of nodes follow the same rule at the same moment, simulated."""
