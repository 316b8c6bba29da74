"""What the stages share of networks: their training, their passes and features, the judges of inputs."""
