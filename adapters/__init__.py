"""Voice: examples are turned into LoRA adapters, converted, evaluated and registered."""
