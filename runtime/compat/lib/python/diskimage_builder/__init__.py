"""What scripts of classic elements import from diskimage-builder: `logging_config`, `paths` and `element_dependencies`. dibw's own."""
