"""The server: retrieve, prompt, generate, cite; the OpenAI API, the page and the command line."""
