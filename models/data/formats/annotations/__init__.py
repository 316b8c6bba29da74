"""What annotation tools write: COCO, CVAT, Label Studio."""
