"""Networks in JAX, for the engine of networks: parts, architectures, and what is measured of them at frames."""
