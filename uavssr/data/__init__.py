"""Training data: spectra, simulated scenes, random cameras."""
