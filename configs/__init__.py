"""YAML that chooses values; the dataclasses of each room own their names, types and meanings."""
