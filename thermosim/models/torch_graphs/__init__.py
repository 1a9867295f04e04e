"""Functions of a torch.nn.Module as functions of JAX: graphs that torch.export makes, operation by operation."""
