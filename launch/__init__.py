"""The doorways: each parses, calls one room, and reports. Nothing imports this package."""
