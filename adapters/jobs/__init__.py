"""Fine-tuning as jobs: uploaded rows, a queue that outlives the server, and the process that trains."""
