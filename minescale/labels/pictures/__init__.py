"""How samples and sets look."""
