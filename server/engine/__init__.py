"""The engine process over llama.cpp's batch API: continuous batching, adapters by request, exact prefix reuse."""
