"""The robot: what runs in a robot's pod."""
