"""The balancers on the nodes, each as the rules that it follows."""
