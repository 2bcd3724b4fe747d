"""bench-failover: how long a robot group is without its active robot, by what befell it, beside two usual remedies."""
