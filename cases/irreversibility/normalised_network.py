"""A network of two layers whose rows have their length divided out, so that each of them only turns."""

from thermosim.models.networks import network, normalised, squared_error, tanh

MODEL = network("normalised-network", inputs=6, layers=[normalised(2), tanh, normalised(1)], loss=squared_error)
