"""Models by formula: a case's energy or loss as one line of text, and everything a model needs derived from it."""
