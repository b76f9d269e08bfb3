"""What clients feel when apiservers die, vanish, drain and return, behind each balancer:
``python -m bench failover``.
"""
