"""A throwaway kube-apiserver and its clients, for the demonstration and the tests; knows nothing of the proxy."""
