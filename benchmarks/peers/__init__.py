"""What other systems need to do the same work. Run by their own interpreter, with nothing of ours imported."""
