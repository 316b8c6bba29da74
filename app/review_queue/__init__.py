"""Review queues: images that a model was sent, and what people say of them."""
