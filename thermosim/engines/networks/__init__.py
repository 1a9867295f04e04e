"""The engine of networks: whole architectures as ensembles, in JAX, replicas as the leading axis of every parameter."""
