"""Places that serve models, behind one protocol: Ollama, the embedded engine, and a scripted double."""
