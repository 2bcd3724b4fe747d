"""The project's images: what goes into each, its name, its build with Docker or buildah."""
