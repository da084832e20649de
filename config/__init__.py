"""Settings, brands, prompt rendering, model files and the data directory: what every other package builds on."""
