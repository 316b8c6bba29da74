"""What runs a forward pass, and the choice between them."""
