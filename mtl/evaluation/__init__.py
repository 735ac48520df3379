"""What a model learned, and what it cost."""
