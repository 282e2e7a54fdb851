"""The tail of a source: which bytes of its logs come next, whatever a rotation does to the files."""
