"""What settings of the model must keep to, whatever form they were written in."""
