"""Other people's layouts, read, written and validated."""
