"""What is fitted: sparse autoencoders and rewards."""
