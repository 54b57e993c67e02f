"""The VLA action publisher: observation in, action chunks out."""
