"""Where samples are taken: positives, negatives of every kind, and what is known of them."""
