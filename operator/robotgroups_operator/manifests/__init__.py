"""Pure builders: a group's spec in, the manifests of its children out. No client, no clock."""
