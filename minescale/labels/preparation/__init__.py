"""What is done to images before training: constants, augmentation, matching."""
