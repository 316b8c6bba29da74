"""uvicorn's start and end, the limits of a connection, the edge that every request passes."""
