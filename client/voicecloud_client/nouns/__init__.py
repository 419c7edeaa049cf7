"""What the client can do, by noun, as the API's document groups it."""
