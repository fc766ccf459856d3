"""The restaurant service: restaurants and their menus."""
