"""The kopf operator that reconciles RobotGroups."""
