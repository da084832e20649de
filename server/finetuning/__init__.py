"""Fine-tuning jobs in the running server: ordered over the API, trained by a process of their own, one at a time."""
